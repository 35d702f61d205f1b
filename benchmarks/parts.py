"""CPU time of a candidate: each part of scoring on one core, and the operators of the forward pass.

    python -m benchmarks.parts [--work bench-out] [--only photos|small]

Uses the images that ``make bench`` leaves. Figures are CPU milliseconds per image, the least of several rounds over 40
images.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.job import Job
from benchmarks.speed import make_jobs
from rded_core.io.formats.images import decode_image
from rded_core.networks import build_network
from rded_core.networks.canvas import CanvasNetwork
from rded_core.networks.preprocessing import Preprocessing
from rded_core.patches.crops import cut_patches, draw_crop_boxes, normalise
from rded_core.patches.realism import realism_scores
from rded_core.seeds import counter_generator, seeded_init
from tasks.patches.score import CANDIDATES_PER_FORWARD

NUM_IMAGES = 40
SHOWN_OPERATORS = 10


def measure_parts(job: Job) -> dict[str, float]:
    """Returns CPU milliseconds per image for each part, in the order of the work."""
    patch_px = job.size // job.factor
    paths = sorted(Path(job.source).rglob("*.jpg"))[:NUM_IMAGES]
    files = [path.read_bytes() for path in paths]
    images = [decode_image(data) for data in files]
    draw = partial(draw_crop_boxes, num_crops=job.num_crops, scale=(0.08, 1.0))
    boxes = [draw(*image.shape[1:], counter_generator(0, "crops", number)) for number, image in enumerate(images)]
    patches = torch.stack([cut_patches(image, each, patch_px) for image, each in zip(images, boxes, strict=True)])
    statistics, canvas = Preprocessing(), make_canvas(job)
    normalised = normalise(patches, statistics.mean, statistics.std)
    groups = [group.flatten(0, 1) for group in normalised.split(CANDIDATES_PER_FORWARD)]
    logits = canvas(groups[0])
    classes = torch.zeros(len(logits), dtype=torch.int64)
    parts: dict[str, Callable[[], Any]] = {
        "read": lambda: [path.read_bytes() for path in paths],
        "decode": lambda: [decode_image(data) for data in files],
        "boxes": lambda: [
            draw(*image.shape[1:], counter_generator(0, "crops", number)) for number, image in enumerate(images)
        ],
        "crops": lambda: [cut_patches(image, each, patch_px) for image, each in zip(images, boxes, strict=True)],
        "normalise": lambda: [normalise(group, statistics.mean, statistics.std) for group in groups],
        "forward": lambda: [canvas(group) for group in groups],
        "scores": lambda: [realism_scores(logits, classes) for _ in groups],
    }
    return {name: _least_ms(run) / len(paths) for name, run in parts.items()}


def make_canvas(job: Job) -> CanvasNetwork:
    """Returns the job's observer in its fast form, untrained."""
    with seeded_init(0):
        network = build_network(job.arch, num_classes=10, size=job.size).eval()
    return CanvasNetwork(network, patch_px=job.size // job.factor, size=job.size)


def measure_operators(job: Job) -> list[tuple[str, float]]:
    """Returns the operators of a forward pass with their milliseconds per image, largest first."""
    canvas, patch_px = make_canvas(job), job.size // job.factor
    patches = torch.randn(CANDIDATES_PER_FORWARD * job.num_crops, 3, patch_px, patch_px)
    rounds = 5
    canvas(patches)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(rounds):
            canvas(patches)
    spent = [
        (str(entry.key).removeprefix("aten::"), entry.self_cpu_time_total / 1e3 / rounds / CANDIDATES_PER_FORWARD)
        for entry in profiler.key_averages()
    ]
    return sorted(spent, key=lambda entry: -entry[1])


def _least_ms(run: Callable[[], Any], *, rounds: int = 5) -> float:
    spent: list[float] = []
    for _ in range(rounds):
        started = time.thread_time()
        run()
        spent.append(time.thread_time() - started)
    return min(spent) * 1e3


def main() -> None:
    """Prints both tables for each workload."""
    parser = argparse.ArgumentParser(description="CPU time of a candidate, by part of scoring and by operator")
    parser.add_argument("--work", default="bench-out", help="folder of the workload (bench-out)")
    parser.add_argument("--only", choices=["photos", "small"], help="one of the two workloads")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name, job in make_jobs(Path(options.work).resolve(), candidates=30, cores=1).items():
        if options.only and not name.startswith(options.only):
            continue
        with torch.inference_mode():
            parts, operators = measure_parts(job), measure_operators(job)
        total = sum(parts.values())
        print(f"\n{name}: {total:.2f} ms of CPU per candidate with {job.num_crops} crops, one core")
        for part, spent in parts.items():
            print(f"  {part:<12}{spent:>9.3f} ms{spent / total:>7.1%}")
        print("  forward pass by operator (profiled, so somewhat slower):")
        for operator, spent in operators[:SHOWN_OPERATORS]:
            print(f"    {operator:<28}{spent:>9.3f} ms")


if __name__ == "__main__":
    main()
