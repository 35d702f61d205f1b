"""Ordered, bounded fan-out over threads: the one way stages here keep all cores busy."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


def map_ordered(function: Callable[[In], Out], items: Iterable[In], *, workers: int) -> Iterator[Out]:
    """Yields ``function(item)`` in the order of `items`, computed by `workers` threads, at most 2 * workers ahead.

    The first exception is raised at its item's place; work not yet begun is dropped.
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


_TORCH_THREADS: list[int] = []
"""What every block that now runs with one thread found; the first of them found what was before all."""

_COUNTING = Lock()


@contextmanager
def one_torch_thread() -> Generator[None]:
    """Runs a block with torch's intra-op parallelism off, so that jobs share the cores one each.

    Results then do not depend on the number of cores either: oneDNN splits sums by thread. Blocks may overlap, in
    threads of one process: the setting is the process's, and comes back when the last of them ends.
    """
    import torch  # by those alone who compute: the tables, which are read without it, start in a tenth of the time

    with _COUNTING:
        _TORCH_THREADS.append(torch.get_num_threads())
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _COUNTING:
            before = _TORCH_THREADS[0]
            _TORCH_THREADS.pop()
            if not _TORCH_THREADS:
                torch.set_num_threads(before)
