"""Visible progress: a bar in a terminal, log lines otherwise, and inside a Prefect run a bar in its UI."""

import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from multiprocessing import parent_process
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rded_core.text.wording import counted
from tasks.runtime.logs import run_logger

Item = TypeVar("Item")
Report = Callable[[float, str], None]
"""Receives the share of the work that is done, 0 to 1, and a description of it."""

LOG_EVERY_S = 15.0

_part_of: ContextVar[Report | None] = ContextVar("part_of", default=None)


@contextmanager
def part_of(report: Report) -> Generator[None]:
    """Sends progress inside a block to `report`, as part of larger work, instead of showing it separately."""
    token = _part_of.set(report)
    try:
        yield
    finally:
        _part_of.reset(token)


def track(items: Iterable[Item], *, total: int, what: str, unit: str) -> Iterator[Item]:
    """Yields `items` while showing how many of `total` are done and how long the rest will take.

    `unit` is what is counted, in the singular.

    Worker processes log lines: in the terminal that they share, bars would overwrite each other.
    """
    report = _part_of.get() or _new_bar()
    followed = _reported(items, total=total, what=what, unit=unit, report=report) if report else items
    if sys.stderr.isatty() and parent_process() is None:
        yield from _track_with_bar(followed, total=total, what=what)
    else:
        yield from _track_with_lines(followed, total=total, what=what, unit=unit)


def track_parts(numbers: range, *, total: int) -> Iterator[int]:
    """Yields `numbers`, out of `total`; progress that is tracked meanwhile is shown as part of the whole."""
    outer = _part_of.get()
    report = outer or _new_bar()
    try:
        for number in numbers:
            _part_of.set(partial(_report_part, report, number, total) if report else None)
            yield number
    finally:
        _part_of.set(outer)


def _report_part(report: Report, number: int, total: int, share: float, text: str) -> None:
    report((number + share) / total, text)


def _new_bar() -> Report | None:
    """Returns the update function of a new bar in the UI; None outside a Prefect run."""
    if "prefect" not in sys.modules:
        return None
    from tasks.runtime.artifacts import ProgressArtifact, is_shown

    return ProgressArtifact().update if is_shown() else None


def _reported(items: Iterable[Item], *, total: int, what: str, unit: str, report: Report) -> Iterator[Item]:
    for done, item in enumerate(items, start=1):
        yield item
        report(done / max(total, 1), f"{what}: {done} of {counted(total, unit)}")


def _track_with_bar(items: Iterable[Item], *, total: int, what: str) -> Iterator[Item]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield from progress.track(items, total=total, description=what)


def _track_with_lines(items: Iterable[Item], *, total: int, what: str, unit: str) -> Iterator[Item]:
    logger = run_logger()
    started = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= LOG_EVERY_S and done < total:
            last = now
            left_s = (now - started) / done * (total - done)
            logger.info("%s: %d of %s, %.0f s left", what, done, counted(total, unit), left_s)
