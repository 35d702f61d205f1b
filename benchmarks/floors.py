"""Best possible rates of this machine: matrix products and decoding, and the least arithmetic that a job needs."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.job import Job
from rded_core.io.formats.images import decode_image
from rded_core.networks import build_network
from rded_core.networks.canvas import CanvasNetwork

MATRIX = 2048


@dataclass(frozen=True, kw_only=True)
class Floors:
    """Least CPU seconds that scoring one candidate needs on one core of this machine.

    Attributes:
        matrix_flops_per_s: float32 rate of a large matrix product on one thread.
        flops_plain: arithmetic for a candidate's crops, each on its whole canvas.
        flops_shortcut: the same if only the region that a patch reaches is computed.
        decode_s: seconds to decode one source image.
    """

    matrix_flops_per_s: float
    flops_plain: float
    flops_shortcut: float
    decode_s: float

    @property
    def cpu_s(self) -> float:
        """Seconds for the shortcut's arithmetic at the matrix rate, plus one decode."""
        return self.flops_shortcut / self.matrix_flops_per_s + self.decode_s


def measure_floors(job: Job) -> Floors:
    """Returns the rates, measured on one thread, and the counted arithmetic."""
    torch.set_num_threads(1)
    left, right = torch.rand(2, MATRIX, MATRIX)
    rate = 2 * MATRIX**3 / _best_s(lambda: left @ right, times=5)
    network = build_network(job.arch, num_classes=10, size=job.size).eval()
    patches = torch.rand(job.num_crops, 3, job.size // job.factor, job.size // job.factor)
    canvas = CanvasNetwork(network, patch_px=patches.shape[-1], size=job.size)
    whole = torch.rand(job.num_crops, 3, job.size, job.size)
    sample = [path.read_bytes() for path in sorted(Path(job.source).rglob("*.jpg"))[:20]]
    decode_s = _best_s(lambda: [decode_image(data) for data in sample], times=5) / len(sample)
    return Floors(
        matrix_flops_per_s=rate,
        flops_plain=_count_flops(lambda: network(whole)),
        flops_shortcut=_count_flops(lambda: canvas(patches)),
        decode_s=decode_s,
    )


def _count_flops(run: Callable[[], object]) -> float:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


def _best_s(run: Callable[[], object], *, times: int) -> float:
    spent: list[float] = []
    for _ in range(times):
        started = time.process_time()
        run()
        spent.append(time.process_time() - started)
    return min(spent)
