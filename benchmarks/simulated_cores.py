"""Rate of reading ahead with more cores than this machine has, simulated by sleeping for the time of a decode.

    python -m benchmarks.simulated_cores [--decode-ms 1.4] [--images 2000]

Sleeping threads wait in parallel, as decoding cores would work, while boxes, packing and the hand-over between threads
run as usual, one at a time under the interpreter's lock: once images/s stop growing, that lock is the limit, not
decoding. Packing copies nothing here; real cores copy in parallel.
"""

import argparse
import time
from functools import partial

import torch
from torch import Tensor

from rded_core.io.device.decoding import Job, pack
from rded_core.io.device.threads import one_torch_thread
from rded_core.io.parallel import map_ordered
from rded_core.patches.crops import draw_crop_boxes
from rded_core.seeds import counter_generator

CORES = (1, 2, 4, 8, 16, 32)
PHOTO_PX = (375, 500)


def measure(cores: int, *, decode_s: float, num_images: int) -> float:
    """Returns images per second with `cores` threads."""
    pixel = torch.zeros(3, 1, 1, dtype=torch.uint8)

    def load(number: int) -> tuple[Tensor, Tensor]:
        time.sleep(decode_s)
        generator = counter_generator(0, "crops", "class", number)
        return pixel, draw_crop_boxes(*PHOTO_PX, generator, num_crops=5, scale=(0.08, 1.0))

    jobs = [Job(0, list(range(start, start + 8)), False) for start in range(0, num_images, 8)]
    started = time.perf_counter()
    with one_torch_thread():
        for _ in map_ordered(partial(pack, load, torch.device("cpu"), 112), jobs, workers=cores):
            pass
    return num_images / (time.perf_counter() - started)


def main() -> None:
    """Prints a line for each number of cores."""
    parser = argparse.ArgumentParser(description="rate of reading ahead with more cores than this machine has")
    parser.add_argument("--decode-ms", type=float, default=1.4, help="time to decode one image (1.4)")
    parser.add_argument("--images", type=int, default=2000, help="images per line (2000)")
    options = parser.parse_args()
    print(f"{'cores':>6}{'images/s':>10}{'of ideal':>10}{'ImageNet-1K, s':>16}")
    for cores in CORES:
        rate = measure(cores, decode_s=options.decode_ms / 1e3, num_images=options.images)
        ideal = cores / (options.decode_ms / 1e3)
        print(f"{cores:>6}{rate:>10.0f}{rate / ideal:>10.0%}{300_000 / rate:>16.0f}", flush=True)


if __name__ == "__main__":
    main()
