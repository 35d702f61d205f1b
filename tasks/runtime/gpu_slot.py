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
"""Names another limit, for a machine with GPUs of its own; empty: none is held to."""


@contextmanager
def gpu_slot(device: str) -> Generator[None]:
    """Holds a slot while a block runs a network on `device`, and waits for one where others hold all.

    On a CPU, without Prefect, and where the server knows no such limit, nothing is waited for. The slot of a process
    that was killed comes free after some minutes.
    """
    limit = os.environ.get(LIMIT_VARIABLE, GPU_LIMIT)
    if not limit or TaskRunContext.get() is None or find_device(device).type == "cpu":
        yield
        return
    with concurrency(limit, occupy=1, strict=False):
        yield
