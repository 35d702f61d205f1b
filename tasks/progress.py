"""Progress that is seen: a bar in a terminal, log lines otherwise."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from multiprocessing import parent_process
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")

LOG_EVERY_S = 15.0


def run_logger() -> "logging.Logger | logging.LoggerAdapter[logging.Logger]":
    """Returns Prefect's run logger inside a run, a plain logger outside one (tasks called undecorated).

    Where Prefect was never imported, there is no run, and it is not imported for a look.
    """
    if "prefect" not in sys.modules:
        return logging.getLogger("rded")
    from prefect.logging import get_run_logger

    try:
        return get_run_logger()
    except RuntimeError:
        return logging.getLogger("rded")


def track(items: Iterable[Item], *, total: int, what: str) -> Iterator[Item]:
    """Hands `items` on while showing how many of `total` have passed and how long the rest will take.

    Worker processes share one terminal, where bars would write over each other.
    """
    if sys.stderr.isatty() and parent_process() is None:
        yield from _track_with_bar(items, total=total, what=what)
    else:
        yield from _track_with_lines(items, total=total, what=what)


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
