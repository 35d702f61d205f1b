"""Number of threads that PyTorch computes with."""

from collections.abc import Generator
from contextlib import contextmanager
from threading import Lock

import torch

_TORCH_THREADS: list[int] = []
"""Number of threads at the start of each block that now runs; the first entry is the number before all blocks."""

_COUNTING = Lock()


@contextmanager
def one_torch_thread() -> Generator[None]:
    """Runs a block with torch's intra-op parallelism off, so that each job uses one core.

    Results then do not depend on the number of cores either: oneDNN splits sums by thread. Blocks may overlap in
    threads of one process: the setting applies to the process, and is restored when the last block ends.
    """
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
