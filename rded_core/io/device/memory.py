"""Full device memory: work continues in smaller passes if it can, or else ends with what to do.

An error's traceback keeps every tensor of the failed work alive. So nothing is retried or released before the error
is gone (`attempt`).
"""

import gc
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from threading import Lock
from typing import ParamSpec, TypeVar

import torch

from rded_core.errors import InputError
from rded_core.io.device.graphs import RECORDING
from rded_core.text.wording import counted

logger = logging.getLogger(__name__)

Out = TypeVar("Out")
Params = ParamSpec("Params")

ELSEWHERE = "free memory on the device, or give another --device or --device cpu"

FULL_MEMORY_ERRORS = ("out of memory", "ALLOC_FAILED")
"""Texts by which MPS and CUDA's libraries report full memory, in errors without a class of their own."""


@dataclass(frozen=True, slots=True)
class Full:
    """Returned in place of a result: the work did not fit the device's memory. `reason` is a note in brackets."""

    reason: str


def attempt(work: Callable[[], Out]) -> Out | Full:
    """Returns ``work()``, or `Full` once no error holds the work's tensors any more."""
    try:
        return work()
    except RuntimeError as error:
        if not _is_full(error):
            raise
        wanted = re.search(r"[Tt]ried to allocate ([\d.]+ \w+)", str(error))
        return Full(f" ({wanted[1]} more requested)" if wanted else "")


def release(device: torch.device) -> None:
    """Frees the device memory that nothing refers to any more, which the caching allocator and graphs keep.

    Waits while a graph is recorded on any device: the allocator's cache is emptied for all of them.
    """
    with RECORDING:
        gc.collect()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            torch.cuda.empty_cache()


class FittingPasses:
    """Size of a stage's passes on one device: halved for good whenever its memory is full.

    Args:
        device: where the passes run.
        stage: name of the stage, for messages.
        unit: noun, in the singular, that their size counts.
        remedy: what to do if not even one fits.
        note: what a smaller pass changes, for the log.
    """

    def __init__(self, device: torch.device, *, stage: str, unit: str, remedy: str, note: str = "") -> None:
        self.device, self.stage, self.unit, self.remedy, self.note = device, stage, unit, remedy, note
        self.halvings = 0
        self._lock = Lock()

    def run(self, work: Callable[[int], Out], size: int, *, drop: Callable[[], bool] = lambda: False) -> Out:
        """Returns ``work(size)``, with the size halved (rounded up) as often as it takes to fit the memory.

        Args:
            work: takes the size; restarts from its beginning after every halving.
            size: of a pass that need not be halved.
            drop: releases what `work` holds between calls; returns True if the same size may then fit.

        Raises:
            InputError: a pass of one does not fit.
        """
        while True:
            halvings = self.halvings
            current = -(-size // 2**halvings)
            result = attempt(partial(work, current))
            if not isinstance(result, Full):
                return result
            same_size = drop()
            release(self.device)
            if not same_size:
                self._halve(current, halvings, result)

    def _halve(self, size: int, halvings: int, full: Full) -> None:
        """Halves the size once for all threads to which the same size was too large."""
        if size == 1:
            raise InputError(
                f"{self.stage} in passes of {counted(1, self.unit)} does not fit the memory of {self.device}"
                f"{full.reason}; {self.remedy}"
            )
        with self._lock:
            if self.halvings == halvings:
                self.halvings += 1
                half = counted(-(-size // 2), self.unit)
                details = (self.device, full.reason, self.stage, half, size, self.note)
                logger.warning("the memory of %s is full%s; %s in passes of %s instead of %d%s", *details)


def input_error_if_full(what: str, remedy: str = ELSEWHERE) -> Callable[[Callable[Params, Out]], Callable[Params, Out]]:
    """Decorates work of a fixed size: if the memory is full, an InputError says what did not fit, and the remedy."""

    def decorate(work: Callable[Params, Out]) -> Callable[Params, Out]:
        @wraps(work)
        def checked(*args: Params.args, **options: Params.kwargs) -> Out:
            result = attempt(partial(work, *args, **options))
            if isinstance(result, Full):
                raise InputError(f"{what} does not fit the device's memory{result.reason}; {remedy}")
            return result

        return checked

    return decorate


def _is_full(error: BaseException | None) -> bool:
    """Whether an error means full memory, or was raised while one that does was handled (as by a failed recording)."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in FULL_MEMORY_ERRORS):
            return True
        error = error.__context__
    return False
