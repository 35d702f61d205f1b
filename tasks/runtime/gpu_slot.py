"""A slot of the server's GPU limit, held while a network runs on a GPU."""

import os
from collections.abc import Generator
from contextlib import contextmanager

from prefect.concurrency.sync import concurrency
from prefect.context import TaskRunContext

from rded_core.io.device.devices import find_device

GPU_LIMIT = "gpu"
"""Prefect's global concurrency limit, which ``rded up`` creates with one slot."""

LIMIT_VARIABLE = "RDED_GPU_LIMIT"
"""Environment variable that names a different limit, for a machine with its own GPUs; empty for no limit."""


@contextmanager
def gpu_slot(device: str) -> Generator[None]:
    """Holds a slot while a block runs a network on `device`; waits for one if all are taken.

    It never waits on a CPU, without Prefect, or if the server has no such limit. The slot of a killed process is
    released after some minutes.
    """
    limit = os.environ.get(LIMIT_VARIABLE, GPU_LIMIT)
    if not limit or TaskRunContext.get() is None or find_device(device).type == "cpu":
        yield
        return
    with concurrency(limit, occupy=1, strict=False):
        yield
