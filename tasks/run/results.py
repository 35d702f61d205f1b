"""Results that stages return: what was done, and what was rejected and why."""

from dataclasses import dataclass

from rded_core.io.run.records import Record
from rded_core.text.wording import counted


@dataclass(frozen=True, slots=True)
class Done:
    """A unit's record, with the reason and the seconds of making it in this run; no reason if it was reused."""

    record: Record
    reason: str = ""
    seconds: float = 0.0


class StageResult:
    """The results of a task's units.

    A plain class: Prefect walks into every dataclass and mapping that a task is called with.

    Attributes:
        stage: name of the stage.
        units: results by class index, or first epoch; None if a unit is not current and this run may not make it.
        left: reasons why units that this run may not make are not current.
    """

    def __init__(self, stage: str, units: dict[int, Done | None], left: dict[int, str] | None = None) -> None:
        self.stage = stage
        self.units = units
        self.left = left or {}

    @property
    def records(self) -> dict[int, Record]:
        """Records of the units that are done."""
        return {index: done.record for index, done in self.units.items() if done}

    def why(self, index: int) -> str:
        """Returns the reason why a unit was made in this run; empty if it was not."""
        done = self.units.get(index)
        return done.reason if done else ""


Rejected = list[tuple[str, str]]
"""Reason, and URI inside the source, of each unusable image."""


def count_missing(record: Record) -> str:
    """Returns the reason to remake a unit if images could not be read, since they may be back; else empty."""
    count = sum(reason == "missing" for reason, _ in record.facts["rejected"])
    return f"{counted(count, 'image')} could not be read" if count else ""


def squeeze_records(images: list[StageResult]) -> dict[int, Record]:
    """Returns the records of all classes' images, in index order."""
    return dict(sorted(entry for result in images for entry in result.records.items()))
