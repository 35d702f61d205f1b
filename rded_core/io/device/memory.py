"""A device whose memory is full: work goes on in smaller passes where it can, and says what to do where it cannot.

An error's traceback keeps every tensor of the work that failed. So nothing is tried again, and nothing is given back,
before the error has been left behind (`attempt`).
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

logger = logging.getLogger(__name__)

Out = TypeVar("Out")
Given = ParamSpec("Given")

ELSEWHERE = "free memory on the device, or give another --device or --device cpu"

SAID = ("out of memory", "ALLOC_FAILED")
"""How MPS and CUDA's libraries name full memory, in errors of no class of their own."""


@dataclass(frozen=True, slots=True)
class Full:
    """Stands where a result would be: the device's memory did not hold the work. `reason` is a note in brackets."""

    reason: str


def attempt(work: Callable[[], Out]) -> Out | Full:
    """Returns ``work()``, or `Full`; by then no error holds the work's tensors any more."""
    try:
        return work()
    except RuntimeError as error:
        if not _is_full(error):
            raise
        wanted = re.search(r"[Tt]ried to allocate ([\d.]+ \w+)", str(error))
        return Full(f" (it was asked for {wanted[1]} more)" if wanted else "")


def release(device: torch.device) -> None:
    """Gives a device's memory back as far as nothing refers to it: the caching allocator keeps it, and graphs theirs.

    Not while a graph is recorded, on whatever device: the allocator's cache is emptied for all of them.
    """
    with RECORDING:
        gc.collect()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            torch.cuda.empty_cache()


class FittingPasses:
    """How large a stage's passes are on one device: halved, for good, whenever its memory is full.

    Args:
        device: where the passes run.
        stage: what they do, for the log.
        unit: what their size counts.
        remedy: what to do where not even one fits.
        note: what a smaller pass changes, for the log.
    """

    def __init__(self, device: torch.device, *, stage: str, unit: str, remedy: str, note: str = "") -> None:
        self.device, self.stage, self.unit, self.remedy, self.note = device, stage, unit, remedy, note
        self.halvings = 0
        self._lock = Lock()

    def run(self, work: Callable[[int], Out], size: int, *, drop: Callable[[], bool] = lambda: False) -> Out:
        """Returns what `work` returns for a pass of `size`, or of a half, a quarter (rounded up) where that is full.

        Args:
            work: takes the size; done again from its start after every halving.
            size: of a pass where all fits.
            drop: lets go of what `work` holds from call to call; True where the same size may fit after that.

        Raises:
            InputError: a pass of one does not fit.
        """
        while True:
            halvings = self.halvings
            now = -(-size // 2**halvings)
            found = attempt(partial(work, now))
            if not isinstance(found, Full):
                return found
            same_size = drop()
            release(self.device)
            if not same_size:
                self._halve(now, halvings, found)

    def _halve(self, size: int, halvings: int, full: Full) -> None:
        """Halves once for all threads that found the same size too large."""
        if size == 1:
            raise InputError(
                f"{self.stage} in passes of one of its {self.unit} does not fit the memory of {self.device}"
                f"{full.reason}; {self.remedy}"
            )
        with self._lock:
            if self.halvings == halvings:
                self.halvings += 1
                told = (self.device, full.reason, self.stage, -(-size // 2), self.unit, size, self.note)
                logger.warning("the memory of %s is full%s: %s in passes of %d %s instead of %d%s", *told)


def told_if_full(what: str, remedy: str = ELSEWHERE) -> Callable[[Callable[Given, Out]], Callable[Given, Out]]:
    """Decorates work that cannot be made smaller: full memory ends it in one InputError, which says what to do."""

    def decorate(work: Callable[Given, Out]) -> Callable[Given, Out]:
        @wraps(work)
        def told(*args: Given.args, **options: Given.kwargs) -> Out:
            found = attempt(partial(work, *args, **options))
            if isinstance(found, Full):
                raise InputError(f"{what} does not fit the device's memory{found.reason}; {remedy}")
            return found

        return told

    return decorate


def _is_full(error: BaseException | None) -> bool:
    """Tells whether an error is full memory, or came up while one was handled (the end of a recording that failed)."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError) or any(said in str(error) for said in SAID):
            return True
        error = error.__context__
    return False
