"""Full device memory: work continues in smaller passes, or ends with a remedy."""

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from rded_core.errors import InputError
from rded_core.io.device import memory as device_memory
from rded_core.io.device.graphs import RECORDING
from rded_core.io.device.memory import FittingPasses, Full, attempt, input_error_if_full, release

CPU = torch.device("cpu")
TORCH_SAYS = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 4.00 GiB of which 1.00 GiB"


def _passes() -> FittingPasses:
    return FittingPasses(CPU, stage="scoring", unit="candidate", remedy="give another --device", note="; noted")


def _fits(limit: int, seen: list[int]) -> Callable[[int], int]:
    def work(size: int) -> int:
        seen.append(size)
        if size > limit:
            raise torch.OutOfMemoryError(TORCH_SAYS)
        return size

    return work


def test_passes_are_halved_until_one_fits_and_stay_small(caplog: pytest.LogCaptureFixture) -> None:
    passes, seen = _passes(), list[int]()
    assert passes.run(_fits(7, seen), 25) == 7
    assert passes.run(_fits(7, seen), 25) == 7
    assert seen == [25, 13, 7, 7]
    assert [record.getMessage() for record in caplog.records] == [
        f"the memory of cpu is full (2.00 GiB more requested); scoring in passes of {now} candidates instead of "
        f"{before}; noted"
        for before, now in [(25, 13), (13, 7)]
    ]


def test_a_pass_of_one_that_does_not_fit_is_an_error_with_a_remedy() -> None:
    seen: list[int] = []
    with pytest.raises(InputError) as caught:
        _passes().run(_fits(0, seen), 5)
    assert seen == [5, 3, 2, 1]
    assert str(caught.value) == (
        "scoring in passes of 1 candidate does not fit the memory of cpu (2.00 GiB more requested); "
        "give another --device"
    )
    assert caught.value.__cause__ is None and caught.value.__context__ is None, "no traceback holds a tensor"


def test_dropping_memory_may_be_enough(caplog: pytest.LogCaptureFixture) -> None:
    held, seen = [1, 1], list[int]()

    def work(size: int) -> int:
        seen.append(size)
        if held:
            raise torch.OutOfMemoryError(TORCH_SAYS)
        return size

    assert _passes().run(work, 8, drop=lambda: bool(held.pop() if held else 0)) == 8
    assert (seen, caplog.text) == ([8, 8, 8], "")


def test_threads_that_fail_at_the_same_size_halve_it_once(caplog: pytest.LogCaptureFixture) -> None:
    passes, together = _passes(), threading.Barrier(4)

    def work(size: int) -> int:
        if size > 8:
            together.wait(timeout=10)
            raise torch.OutOfMemoryError(TORCH_SAYS)
        return size

    with ThreadPoolExecutor(4) as pool:
        assert [each.result() for each in [pool.submit(passes.run, work, 16) for _ in range(4)]] == [8] * 4
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("full"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1.00 GB)"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
    ids=["cuda", "mps", "cudnn"],
)
def test_full_memory_is_recognised_in_several_errors(error: RuntimeError) -> None:
    def work() -> None:
        raise error

    assert attempt(work) == Full("")


def test_a_recording_that_fails_on_full_memory_is_recognised() -> None:
    def work() -> None:
        try:
            raise torch.OutOfMemoryError("full")
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")

    assert attempt(work) == Full("")


def test_other_errors_propagate() -> None:
    def work() -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        attempt(work)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        input_error_if_full("it")(work)()


def test_tensors_of_the_work_are_released_before_it_is_retried() -> None:
    held: list[weakref.ref[Tensor]] = []

    def work(size: int) -> int:
        assert all(each() is None for each in held)
        large = torch.zeros(size)
        held.append(weakref.ref(large))
        if size > 2:
            raise torch.OutOfMemoryError(TORCH_SAYS)
        return len(large)

    assert _passes().run(work, 8) == 2
    assert len(held) == 3


def test_work_of_a_fixed_size_ends_with_a_remedy() -> None:
    @input_error_if_full("training", "give a smaller --batch-size")
    def train(size: int, *, epochs: int) -> int:
        if size > 2:
            raise torch.OutOfMemoryError(TORCH_SAYS)
        return size * epochs

    assert train(2, epochs=3) == 6
    with pytest.raises(InputError) as caught:
        train(3, epochs=3)
    assert str(caught.value) == (
        "training does not fit the device's memory (2.00 GiB more requested); give a smaller --batch-size"
    )
    assert caught.value.__context__ is None


def test_memory_is_released_after_pending_work_and_never_during_a_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(device_memory.gc, "collect", lambda: done.append(f"collect, alone: {RECORDING.locked()}"))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: done.append(f"synchronise {device}"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: done.append(f"empty, alone: {RECORDING.locked()}"))
    release(torch.device("cuda", 1))
    assert done == ["collect, alone: True", "synchronise cuda:1", "empty, alone: True"]
    assert not RECORDING.locked()
