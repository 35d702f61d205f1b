"""Points at which a run is killed, drawn over all stages, and lives of a run with several kills."""

import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.faults.harness import Command, Outcome, Remains, check_finished, check_sums, stage_of, watch

SECONDS_LATER = 0.4

REMOVALS = ("unlink", "rmdir")
"""Operations after which no file is visible."""


@dataclass(frozen=True, slots=True)
class Point:
    """A moment of a run.

    Attributes:
        rank: position of the event in an undisturbed run.
        event: a file operation, as listed in the log of that run.
        how: exactly ``before`` or ``after`` the operation; ``seen``: once its file or a later one appears, as seen from
            outside; ``later``: `delay_s` after that.
        delay_s: delay for ``later``, else 0.
    """

    rank: int
    event: str
    how: Literal["before", "after", "seen", "later"]
    delay_s: float = 0.0

    @property
    def stage(self) -> str:
        return stage_of_event(self.event)


def stage_of_event(event: str) -> str:
    """Returns the stage of a file operation; files removed from the staged dataset belong to the old one, set aside."""
    operation, path = event.split(" ", 1)
    stage = stage_of(path)
    return "publish: swap" if operation in REMOVALS and stage == "publish: assemble" else stage


def draw_points(events: list[str], count: int, rng: random.Random) -> list[Point]:
    """Returns random points that cover every stage: the stages in turn, with a random event of each."""
    by_stage: dict[str, list[int]] = {}
    for rank, event in enumerate(events):
        by_stage.setdefault(stage_of_event(event), []).append(rank)
    stages = list(by_stage)
    rng.shuffle(stages)
    points: list[Point] = []
    for number in range(count):
        rank = rng.choice(by_stage[stages[number % len(stages)]])
        exact = events[rank].split(" ", 1)[0] in REMOVALS
        how = rng.choice(("before", "after") if exact else ("before", "after", "seen", "later"))
        points.append(Point(rank, events[rank], how, rng.uniform(0, SECONDS_LATER) if how == "later" else 0.0))
    return points


def into_lives(points: list[Point], kills_per_life: int) -> list[list[Point]]:
    """Groups points into lives, one run folder each; the points of a life are in the order of the run."""
    groups = [points[start : start + kills_per_life] for start in range(0, len(points), kills_per_life)]
    return [sorted(group, key=lambda point: point.rank) for group in groups]


@dataclass(slots=True)
class Tally:
    """Counts for the table at the end."""

    kills: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    absent: list[Point] = field(default_factory=list)
    resumed: int = 0
    kept: int = 0
    by_kind: Counter[str] = field(default_factory=Counter)

    def table(self) -> str:
        rows = [f"{stage:<20}{count:>6}" for stage, count in sorted(self.kills.items())]
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.by_kind.items()))
        return "\n".join(
            [
                f"{'stage':<20}{'kills':>6}", *rows, f"{'all':<20}{sum(self.kills.values()):>6}  ({kinds})",
                f"points passed before the kill: {self.missed}; folders finished, sums equal: {self.resumed}; "
                f"records kept: {self.kept}; no dataset between the renames of the swap: {len(self.absent)}",
            ]
        )  # fmt: skip


def kill_at(command: Command, point: Point, ranks: dict[str, int]) -> bool:
    """Starts a command and kills it at a point; returns False if it ended before that."""
    if point.how in ("before", "after"):
        child = command.start(dies_at=point.event, after=point.how == "after")
        code = child.wait()
        child.kill()
    else:
        child = command.start()
        code = None
        for path in watch(child, command.out):
            if ranks.get("dataset" if path.startswith("dataset/") else path, -1) >= point.rank:
                time.sleep(point.delay_s)
                code = child.kill()
                break
        code = child.wait() if code is None else code
    assert code in (0, -9), child.text
    return code == -9


def ranks_of(events: list[str]) -> dict[str, int]:
    """Maps each file that appears to the rank of its first event."""
    named = [(rank, *event.split(" ", 1)) for rank, event in enumerate(events)]
    return {path: rank for rank, operation, path in reversed(named) if operation not in REMOVALS}


def live(
    command: Command,
    points: list[Point],
    events: list[str],
    *,
    end: Command | None = None,
    expected: Outcome,
    old: str | None = None,
    tally: Tally,
) -> None:
    """Starts a command, kills it at each point, then runs it to its end, with checks after each step.

    Args:
        command: the command to kill.
        points: where to kill it.
        events: events of its undisturbed run.
        end: the last command, if it is a different one.
        expected: expected outcome of the last command.
        old: SHA256SUMS of the earlier dataset in the folder, which stays until the new one replaces it.
        tally: counts to add to.
    """
    remains: list[Remains] = []
    ranks = ranks_of(events)
    for point in points:
        if not kill_at(command, point, ranks):
            tally.missed += 1
            continue
        tally.kills[point.stage] += 1
        tally.by_kind["of the whole command" if command.environment else "undecorated"] += 1
        _check_dataset(command.out, point, expected=expected, old=old, is_other=end is not None, tally=tally)
        remains.append(Remains.of(command.out))
    (end or command).finish()
    check_finished(command.out, expected)
    final = Remains.of(command.out)
    # If a different command ends it, files that the killed one has overwritten since are rightly made again.
    tally.kept += sum(left.check_kept(final, unchanged=old is None) for left in remains[-1 if end else 0 :])
    tally.resumed += 1


def _check_dataset(
    out: Path, point: Point, *, expected: Outcome, old: str | None, is_other: bool, tally: Tally
) -> None:
    """Checks that the dataset folder is the complete old or new one; it may be absent only during the swap."""
    dataset = out / "dataset"
    if dataset.exists():
        check_sums(dataset)
        sums = (dataset / "SHA256SUMS").read_text()
        assert is_other or sums in (old, expected.sums)
    elif old is not None:
        assert point.stage.startswith("publish: "), f"no dataset after a kill {point}"
        tally.absent.append(point)
