"""Units of work: done once for given inputs, reused from the run folder afterwards."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rded_core.io.layout.run import RunFolder
from rded_core.io.parallel import map_ordered
from rded_core.io.remote.places import as_shown
from rded_core.io.run.records import (
    NEW,
    Record,
    damaged_outputs,
    find_record,
    unit_settings,
    what_changed,
    write_record,
)
from rded_core.io.storage.files import file_digest, os_errors_as_input_errors
from rded_core.text.wording import STAGE_WORDS
from tasks.run.results import Done, StageResult
from tasks.runtime.logs import run_logger
from tasks.runtime.states import as_cached


@dataclass(frozen=True, slots=True)
class Scope:
    """What a run may do with a unit.

    Attributes:
        redo: whether to remake it although it is current.
        frozen: whether to leave it as the last run left it, regardless of its current data.
    """

    redo: bool = False
    frozen: bool = False


WHOLE = Scope()


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit of one stage.

    Attributes:
        run: the run folder.
        stage: name of the stage.
        name: the class or epochs that it covers.
        settings: every config value and network that the outputs depend on.
        upstream: digests of the data that the outputs are made from, by name.
        outputs: files that `produce` writes, all in the stage's folder.
        still_true: checks a record further; returns the reason why it is stale, or an empty string.
    """

    run: RunFolder
    stage: str
    name: str
    settings: dict[str, Any]
    upstream: dict[str, str]
    outputs: tuple[Path, ...] = ()
    still_true: Callable[[Record], str] = lambda _: ""

    @property
    def path(self) -> Path:
        """Path of the unit's record."""
        return self.run.record(self.stage, self.name)

    def find(self, scope: Scope) -> tuple[Record | None, str]:
        """Returns (record, "") if the unit is current, else (record or None, reason)."""
        record, reason = find_record(self.path)
        if record is None:
            return None, reason
        upstream = None if scope.frozen else self.upstream
        reason = what_changed(record, unit_settings(self.settings), upstream) or self.still_true(record)
        if not reason and (wrong := damaged_outputs(self.path, record)):
            reason = f"output {sorted(wrong.values())[-1]}"
        return record, reason or ("asked for" if scope.redo else "")


class Worklist:
    """The units of one task: which are current, and which have to be made and why.

    Args:
        units: units by class index, or first epoch; None if the inputs of a unit are missing.
        scope: returns what this run may do with a unit.
        why: returns the reason why a unit's data changed, if the previous stage knows it.
        workers: threads that check existing outputs.
    """

    def __init__(
        self,
        units: Mapping[int, Unit | None],
        scope: Callable[[int], Scope] = lambda _: WHOLE,
        *,
        why: Callable[[int], str] = lambda _: "",
        workers: int = 1,
    ) -> None:
        self.units = {index: unit for index, unit in units.items() if unit}
        states = map_ordered(lambda entry: entry[1].find(scope(entry[0])), self.units.items(), workers=workers)
        self.done: dict[int, Done | None] = dict.fromkeys(units)
        self.stale: dict[int, str] = {}
        self.left: dict[int, str] = {}
        for (index, unit), (record, reason) in zip(self.units.items(), states, strict=True):
            if record is not None and not reason:
                self.done[index] = Done(record)
            elif not scope(index).frozen:
                is_upstream = reason.removesuffix(" changed") in unit.upstream
                self.stale[index] = (why(index) if is_upstream else "") or reason
            else:
                self.left[index] = reason
        self._started = self._last = time.monotonic()

    def replace(self, index: int, unit: Unit) -> None:
        """Replaces a unit that is still to be made."""
        self.units[index] = unit

    def finish(self, index: int, facts: dict[str, Any]) -> None:
        """Records a unit whose outputs are in place."""
        unit = self.units[index]
        with os_errors_as_input_errors(unit.path):
            outputs = {output.name: file_digest(output) for output in unit.outputs}
        record = Record(unit.stage, unit.name, unit_settings(unit.settings), unit.upstream, outputs, facts)
        write_record(unit.path, record)
        before, self._last = self._last, time.monotonic()
        self.done[index] = Done(record, self.stale[index], self._last - before)

    @property
    def records(self) -> dict[int, Record]:
        """Records of the units that are done."""
        return {index: done.record for index, done in self.done.items() if done}

    def result(self, stage: str, what: str = "") -> Any:
        """Ends a task; logs one line about the units it made."""
        if self.stale:
            self._log(f"{STAGE_WORDS.get(stage, stage)} {what}".strip())
        return self.end_with(StageResult(stage, self.done, self.left))

    def _log(self, what: str) -> None:
        """Logs how many units were made and why, their counts, the seconds it took, and their folder."""
        facts_made = [done.record.facts for done in self.done.values() if done and done.reason]
        counts: Counter[str] = sum((_counts(facts) for facts in facts_made), Counter[str]())
        why = Counter(reason for reason in self.stale.values() if reason != NEW)
        reasons = ", ".join(f"{count} x {reason}" if count > 1 else reason for reason, count in why.most_common(3))
        totals = ", ".join(f"{count} {name}" for name, count in counts.items())
        why_made = f" ({reasons})" if reasons else ""
        folder = as_shown(next(iter(self.units.values())).path.parent)
        seconds = time.monotonic() - self._started
        run_logger().info(
            "%s: %d made%s: %s, %.1f s, %s", what, len(facts_made), why_made, totals or "done", seconds, folder
        )

    def end_with(self, result: Any) -> Any:
        """Ends a task: with a state named ``Cached`` if nothing was made; without Prefect, with the plain result."""
        return result if self.stale else as_cached(result, num_current=len(self.done))


def run_unit(unit: Unit, produce: Callable[[], dict[str, Any]], *, scope: Scope = WHOLE, why: str = "") -> Done | None:
    """Runs `produce` unless the unit is current; returns None if it is stale and may not be made."""
    work = Worklist({0: unit}, lambda _: scope, why=lambda _: why)
    if work.stale:
        work.finish(0, produce())
        work.result(unit.stage, unit.name)
    return work.done[0]


COUNT_WORDS = {
    "candidates": "candidates",
    "usable": "usable candidates",
    "patches": "patches",
    "images": "images",
    "views": "views",
    "reused_views": "views reused",
}
"""Words for the facts that are counts; other whole numbers (a best epoch) do not add up."""


def _counts(facts: dict[str, Any]) -> Counter[str]:
    """Returns the counts in a record's facts, and rejected images by reason."""
    counts = Counter({word: facts[name] for name, word in COUNT_WORDS.items() if name in facts})
    return counts + Counter(f"rejected ({reason})" for reason, _ in facts.get("rejected", ()))
