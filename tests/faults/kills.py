"""Where a run is killed: points drawn over all stages, and lives that pass through several of them."""

import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.faults.harness import Command, Outcome, Remains, check_finished, check_sums, stage_of, watch

SECONDS_LATER = 0.4

REMOVALS = ("unlink", "rmdir")
"""Operations after which there is no file to be seen."""


@dataclass(frozen=True, slots=True)
class Point:
    """A moment of a run.

    Attributes:
        rank: of the event, in the order of an undisturbed run.
        event: a file operation, as the log of that run names it.
        how: ``before`` or ``after`` the operation, to the very call; ``seen`` from outside, when its file or a later
            one appears; ``later`` than that by a while.
        delay_s: that while.
    """

    rank: int
    event: str
    how: Literal["before", "after", "seen", "later"]
    delay_s: float = 0.0

    @property
    def stage(self) -> str:
        return stage_of_event(self.event)


def stage_of_event(event: str) -> str:
    """Names the stage of a file operation; what is removed from the staged dataset was the old one, set aside."""
    operation, path = event.split(" ", 1)
    stage = stage_of(path)
    return "publish: swap" if operation in REMOVALS and stage == "publish: assemble" else stage


def draw_points(events: list[str], count: int, rng: random.Random) -> list[Point]:
    """Draws points so that no stage is left out: stages in turn, an event of the stage at random."""
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
    """Groups points into lives of one run folder each, every life's in the order of the run."""
    groups = [points[start : start + kills_per_life] for start in range(0, len(points), kills_per_life)]
    return [sorted(group, key=lambda point: point.rank) for group in groups]


@dataclass(slots=True)
class Tally:
    """What was done, for the table at the end."""

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
    """Starts a command and kills it at a point; returns False where it had ended before."""
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
    """Maps each file that appears to its first event."""
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
    """Starts a command, kills it at each point, runs it to its end, and checks what must hold after each.

    Args:
        command: killed.
        points: where.
        events: of its undisturbed run.
        end: the last command, where it is another.
        expected: what that must come to.
        old: SHA256SUMS of the dataset that lay there before, which stays until the new one takes its place.
        tally: counts.
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
    # Where another command ends it, what the killed one has overwritten since is rightly made again.
    tally.kept += sum(left.check_kept(final, unchanged=old is None) for left in remains[-1 if end else 0 :])
    tally.resumed += 1


def _check_dataset(
    out: Path, point: Point, *, expected: Outcome, old: str | None, is_other: bool, tally: Tally
) -> None:
    """Holds that the dataset folder is the old one or the new one, whole; only the swap may leave a gap."""
    dataset = out / "dataset"
    if dataset.exists():
        check_sums(dataset)
        sums = (dataset / "SHA256SUMS").read_text()
        assert is_other or sums in (old, expected.sums)
    elif old is not None:
        assert point.stage.startswith("publish: "), f"no dataset after a kill {point}"
        tally.absent.append(point)
