"""Best possible rates of a device and its host (decoding, copies, matrix products), for a lower bound on the time."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from rded_core.io.formats.images import decode_image
from rded_core.io.parallel import map_ordered

MATRIX = 4096


@dataclass(frozen=True, kw_only=True)
class DeviceFloors:
    """Rates of this machine.

    Attributes:
        decoded_per_s: images decoded per second on all cores, with nothing else running.
        copied_bytes_per_s: copy rate from pinned memory to the device.
        bfloat16_flops_per_s: rate of a large matrix product.
        float32_flops_per_s: likewise, with TF32 off.
    """

    decoded_per_s: float
    copied_bytes_per_s: float
    bfloat16_flops_per_s: float
    float32_flops_per_s: float

    def as_dict(self) -> dict[str, float]:
        """Returns the rates by name."""
        return asdict(self)


def measure_device_floors(device: torch.device, files: list[bytes], *, workers: int) -> DeviceFloors:
    """Returns all rates, each measured over some tenths of a second after a warm-up."""
    side = MATRIX if device.type == "cuda" else MATRIX // 8
    rates: dict[torch.dtype, float] = {}
    for dtype in (torch.bfloat16, torch.float32):
        left, right = torch.randn(2, side, side, device=device).to(dtype)
        rates[dtype] = 2 * side**3 / seconds_of(lambda left=left, right=right: left @ right, device)
    block = torch.empty(2**26, dtype=torch.uint8, pin_memory=device.type == "cuda")
    started = time.perf_counter()
    for _ in map_ordered(decode_image, files, workers=workers):
        pass
    return DeviceFloors(
        decoded_per_s=len(files) / (time.perf_counter() - started),
        copied_bytes_per_s=len(block) / seconds_of(lambda: block.to(device, copy=True), device),
        bfloat16_flops_per_s=rates[torch.bfloat16],
        float32_flops_per_s=rates[torch.float32],
    )


def seconds_of(run: Callable[[], object], device: torch.device, *, at_least_s: float = 0.3) -> float:
    """Returns a call's mean seconds over at least `at_least_s`, synchronising with the device at both ends."""
    run()
    wait_for(device)
    started, calls = time.perf_counter(), 0
    while time.perf_counter() - started < at_least_s:
        for _ in range(4):
            run()
        calls += 4
        wait_for(device)
    return (time.perf_counter() - started) / calls


def wait_for(device: torch.device) -> None:
    """Waits until a device has finished its queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
