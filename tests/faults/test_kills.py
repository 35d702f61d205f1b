"""A run that is killed at any point resumes where it stopped and gives the same bytes."""

import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import photo_like
from tests.faults.harness import Command, Outcome, processes_below
from tests.faults.kills import Point, Tally, draw_points, into_lives, live

MakeCommand = Callable[..., Command]
Undisturbed = tuple[Path, list[str]]
Environment = dict[str, str]

FLAGS = {"ipc": ("--ipc", "3"), "labels": ("--mix", "none"), "class": (), "back": ("--ipc", "3")}
"""Second runs in a finished folder: with other settings, with an edited class, or abandoned for the first settings."""


@dataclass(frozen=True, slots=True)
class Change:
    """A second run in a finished folder.

    Attributes:
        kind: one of `FLAGS`.
        finished: folder of the first run.
        given: the source, if it is a different one.
        events: events of the second run, undisturbed.
        expected: expected outcome of the folder.
    """

    kind: str
    finished: Path
    given: dict[str, Any]
    events: list[str]
    expected: Outcome

    def live(
        self, make: MakeCommand, out: Path, points: list[Point], tally: Tally, environment: Environment | None = None
    ) -> None:
        """Runs a life that starts with a copy of the finished folder."""
        shutil.copytree(self.finished, out)
        command = make(out, *FLAGS[self.kind], **self.given, environment=environment)
        live(
            command,
            points,
            self.events,
            end=make(out, environment=environment) if self.kind == "back" else None,
            expected=self.expected,
            old=Outcome.of(self.finished).sums,
            tally=tally,
        )


MakeChange = Callable[[str], Change]


@pytest.fixture
def make_change(make_command: MakeCommand, undisturbed: Undisturbed, fault_source: Path, tmp_path: Path) -> MakeChange:
    """Makes a change, with one undisturbed run of it in a copy of the finished folder and one in a new folder."""

    def make(kind: str) -> Change:
        folder, finished = tmp_path / f"change-{kind}", undisturbed[0]
        given: dict[str, Any] = {}
        if kind == "class":
            given["source"] = Path(shutil.copytree(fault_source, folder / "source"))
            finished = folder / "finished"
            make_command(finished, **given).finish()
            _edit_class(folder / "source" / "class-c")
        log = folder / "log.txt"
        make_command(shutil.copytree(finished, folder / "second"), *FLAGS[kind], **given).finish(log=str(log))
        events = list(dict.fromkeys(log.read_text().splitlines()))
        if kind == "back":
            return Change(kind, finished, given, events, Outcome.of(finished))
        make_command(folder / "fresh", *FLAGS[kind], **given).finish()
        return Change(kind, finished, given, events, Outcome.of(folder / "fresh"))

    return make


def _edit_class(folder: Path) -> None:
    """Removes one image, adds one, and replaces a third."""
    (folder / "3.png").unlink()
    photo_like(1, height=40, width=44).save(folder / "new.png")
    photo_like(2, height=40, width=44).save(folder / "4.jpg")


def _take(events: list[str], how: str, ending: str) -> Point:
    """Returns the point at the first event that ends with `ending`."""
    rank = next(rank for rank, event in enumerate(events) if event.endswith(ending))
    return Point(rank, events[rank], how)  # pyright: ignore[reportArgumentType]


@pytest.mark.slow
def test_killed_three_times(
    make_command: MakeCommand, undisturbed: Undisturbed, expected: Outcome, tmp_path: Path
) -> None:
    """Kills while candidates are copied, between an output and its record, and in the swap."""
    events, tally = undisturbed[1], Tally()
    points = [
        _take(events, "seen", "candidates/class-c-c72989cd.tar"),
        _take(events, "before", "squeeze/.class-g-b34f8869.json.tmp"),
        _take(events, "after", "rename dataset"),
    ]
    live(make_command(tmp_path / "run"), points, events, expected=expected, tally=tally)
    assert sum(tally.kills.values()) + tally.missed == 3
    assert tally.kept > 20


@pytest.mark.slow
def test_old_dataset_stays_until_the_new_one_is_whole(
    make_command: MakeCommand, make_change: MakeChange, tmp_path: Path
) -> None:
    change, tally = make_change("labels"), Tally()
    exchanged = next(event for event in change.events if event.startswith("unlink work/dataset"))
    moments = [("after", "replace work/dataset/SHA256SUMS"), ("before", exchanged)]
    points = [_take(change.events, *moment) for moment in moments]
    change.live(make_command, tmp_path / "run", points, tally)
    assert tally.kills == {"publish: assemble": 1, "publish: swap": 1}
    assert not tally.absent


@pytest.mark.slow
def test_whole_command_killed_with_prefect(
    make_command: MakeCommand, undisturbed: Undisturbed, expected: Outcome, tmp_path: Path,
    prefect_environment: Environment,
) -> None:  # fmt: skip
    events, tally = undisturbed[1], Tally()
    points = [_take(events, "seen", "realism/class-f-32696bc4.json")]
    command = make_command(tmp_path / "run", environment=prefect_environment)
    live(command, points, events, expected=expected, tally=tally)
    assert tally.kills == {"realism": 1}
    assert not processes_below(tmp_path / "run")


def _describe(points: list[Point]) -> str:
    return ", ".join(f"{point.how} {point.event}" for point in points)


FIRST_RUNS = {False: 96, True: 12}
SECOND_RUNS = {False: 10, True: 2}
"""Numbers of kills, for first runs and for each kind of second run: undecorated, and whole command with Prefect."""

Live = Callable[[Path, list[Point], Tally, Environment | None], None]


@pytest.fixture
def pass_lives(
    prefect_environment: Environment, tmp_path: Path, request: pytest.FixtureRequest
) -> Callable[..., Tally]:
    """Runs lives with kills drawn over all stages, prints each and a table, and returns the counts."""
    echo = request.config.get_terminal_writer().line

    def run(one_life: Live, events: list[str], counts: dict[bool, int], *, per_life: int, seed: int) -> Tally:
        rng, tally, started = random.Random(seed), Tally(), time.monotonic()
        for decorated, count in counts.items():
            for number, points in enumerate(into_lives(draw_points(events, count, rng), per_life)):
                out = tmp_path / f"run-{decorated}-{number}"
                one_life(out, points, tally, prefect_environment if decorated else None)
                echo(f"{time.monotonic() - started:6.0f} s  {out.name}: {_describe(points)}")
                shutil.rmtree(out)
        echo(f"seed {seed}, {time.monotonic() - started:.0f} s\n{tally.table()}")
        assert not processes_below(tmp_path)
        return tally

    return run


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_killed_anywhere(
    make_command: MakeCommand, undisturbed: Undisturbed, expected: Outcome, pass_lives: Callable[..., Tally]
) -> None:
    """A hundred kills at points drawn over all stages, three per life."""
    events = undisturbed[1]

    def one_life(out: Path, points: list[Point], tally: Tally, environment: Environment | None) -> None:
        live(make_command(out, environment=environment), points, events, expected=expected, tally=tally)

    tally = pass_lives(one_life, events, FIRST_RUNS, per_life=3, seed=20260101)
    assert sum(tally.kills.values()) >= 100
    assert not tally.absent


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("kind", FLAGS)
def test_second_run_killed_anywhere(
    make_command: MakeCommand, make_change: MakeChange, pass_lives: Callable[..., Tally], kind: str
) -> None:
    change = make_change(kind)

    def one_life(out: Path, points: list[Point], tally: Tally, environment: Environment | None) -> None:
        change.live(make_command, out, points, tally, environment)

    tally = pass_lives(one_life, change.events, SECOND_RUNS, per_life=2, seed=20260103)
    assert not tally.absent, "the old dataset stays until the new one replaces it"
