"""Ordered, bounded fan-out over threads: the one way in which stages keep all cores busy."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


def map_ordered(function: Callable[[In], Out], items: Iterable[In], *, workers: int) -> Iterator[Out]:
    """Yields ``function(item)`` in the order of `items`, computed by `workers` threads, at most 2 * workers ahead.

    The first exception is raised at its item's place; work not yet started is cancelled.
    """
    with ThreadPoolExecutor(max_workers=max(workers, 1), thread_name_prefix="rded") as pool:
        pending: deque[Future[Out]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > 2 * max(workers, 1):
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
