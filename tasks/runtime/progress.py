"""Progress that is seen: a bar in a terminal, log lines otherwise, and inside a Prefect run a bar in its UI."""

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

from tasks.runtime.logs import run_logger

Item = TypeVar("Item")
Tell = Callable[[float, str], None]
"""Is told the share of the work that is done, 0 to 1, and what to say of it."""

LOG_EVERY_S = 15.0

_part_of: ContextVar[Tell | None] = ContextVar("part_of", default=None)


@contextmanager
def part_of(tell: Tell) -> Generator[None]:
    """Tells what is tracked inside a block as a part of larger work, which `tell` knows, instead of on its own."""
    token = _part_of.set(tell)
    try:
        yield
    finally:
        _part_of.reset(token)


def track(items: Iterable[Item], *, total: int, what: str) -> Iterator[Item]:
    """Hands `items` on while showing how many of `total` have passed and how long the rest will take.

    Worker processes share one terminal, where bars would write over each other.
    """
    tell = _part_of.get() or _bar_of_its_own()
    followed = _told(items, total=total, what=what, tell=tell) if tell else items
    if sys.stderr.isatty() and parent_process() is None:
        yield from _track_with_bar(followed, total=total, what=what)
    else:
        yield from _track_with_lines(followed, total=total, what=what)


def track_parts(numbers: range, *, total: int) -> Iterator[int]:
    """Hands `numbers` on, of `total`; what is tracked meanwhile shows as a part of the whole."""
    outer = _part_of.get()
    tell = outer or _bar_of_its_own()
    try:
        for number in numbers:
            _part_of.set(partial(_tell_part, tell, number, total) if tell else None)
            yield number
    finally:
        _part_of.set(outer)


def _tell_part(tell: Tell, number: int, total: int, share: float, text: str) -> None:
    tell((number + share) / total, text)


def _bar_of_its_own() -> Tell | None:
    """Returns what shows progress in the UI; nothing outside a Prefect run."""
    if "prefect" not in sys.modules:
        return None
    from tasks.runtime.artifacts import ShownProgress, is_shown

    return ShownProgress().tell if is_shown() else None


def _told(items: Iterable[Item], *, total: int, what: str, tell: Tell) -> Iterator[Item]:
    for done, item in enumerate(items, start=1):
        yield item
        tell(done / max(total, 1), f"{what}: {done} of {total}")


def _track_with_bar(items: Iterable[Item], *, total: int, what: str) -> Iterator[Item]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield from progress.track(items, total=total, description=what)


def _track_with_lines(items: Iterable[Item], *, total: int, what: str) -> Iterator[Item]:
    logger = run_logger()
    started = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= LOG_EVERY_S and done < total:
            last = now
            logger.info("%s: %d of %d, %.0f s left", what, done, total, (now - started) / done * (total - done))
