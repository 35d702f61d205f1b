"""Scoring and labelling on one GPU, against the algorithm written plainly.

    python -m benchmarks.gpu [--device cuda] [--classes 16] [--candidates 300] [--json FILE]

Needs torch 2.11 or newer, torchvision, safetensors, jaxtyping and simplejpeg; no Prefect and no network. The defaults
fit into ten minutes: the machine's rates, the plain side on some of the images, ours in float32 and bfloat16 on all of
them, labelling, and whether the selections agree. Figures go to the terminal and, as JSON, to a file.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.datasets import ImageFolder

from benchmarks.device_floors import measure_device_floors, seconds_of, wait_for
from benchmarks.job import Job
from benchmarks.reference import CropEach, score_class
from benchmarks.workload import PHOTO_PX, write_class
from rded_core.io.device.devices import num_available_cores, resolve_device
from rded_core.io.device.scoring import DeviceScorer, ScoredClass
from rded_core.io.device.threads import one_torch_thread
from rded_core.io.formats.images import decode_image
from rded_core.labels.views import ViewRecipe, apply_views, draw_views
from rded_core.networks import build_network
from rded_core.networks.canvas import CanvasNetwork
from rded_core.networks.preprocessing import Preprocessing
from rded_core.patches.crops import draw_crop_boxes
from rded_core.patches.selection import select_patches
from rded_core.seeds import counter_generator, seeded_init

SIZE, FACTOR, NUM_CROPS, IPC = 224, 2, 5, 10
NUM_OUTPUTS = 1000
IMAGENET_CANDIDATES, IMAGENET_VIEWS = 1000 * 300, 1000 * IPC * 300
LABEL_ROWS = 256
LOGIT_SPREAD = 4.0
"""Approximate standard deviation of a trained ResNet-18's logits; the untrained one's head is scaled to it."""

Row = Path


def make_observer(device: torch.device) -> nn.Module:
    """Returns an untrained ResNet-18 with 1000 outputs whose statistics and logits are like a trained one's."""
    with seeded_init(0):
        network = build_network("resnet18", num_classes=NUM_OUTPUTS, size=SIZE).train()
        images = torch.randn(16, 3, SIZE, SIZE)
        with torch.no_grad():
            network(images)
            spread = float(network.eval()(images).std())
            next(reversed(list(network.parameters()))).zero_()
            list(network.parameters())[-2].mul_(LOGIT_SPREAD / spread)
    return network.requires_grad_(False).to(device, memory_format=torch.channels_last)


def load(path: Row) -> tuple[Tensor, Tensor]:
    """Returns a decoded photograph and its crop boxes."""
    image = decode_image(path.read_bytes())
    generator = counter_generator(0, "crops", path.parent.name, path.name)
    return image, draw_crop_boxes(*image.shape[1:], generator, num_crops=NUM_CROPS, scale=(0.08, 1.0))


def score(network: nn.Module, classes: list[tuple[int, list[Row]]], dtype: torch.dtype) -> dict[str, Any]:
    """Returns the rates, memory and scores of scoring all classes, after a warm-up on some images of the first."""
    log(f"scoring in {str(dtype).removeprefix('torch.')}")
    device = next(network.parameters()).device
    scorer = DeviceScorer(
        network,
        Preprocessing(),
        patch_px=SIZE // FACTOR,
        size=SIZE,
        num_crops=NUM_CROPS,
        num_chosen=IPC * FACTOR**2,
        dtype=dtype,
    )
    workers = num_available_cores()
    list(scorer.score([(index, rows[:8]) for index, rows in classes[:1]], load, workers=workers))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    started, cpu = time.perf_counter(), time.process_time()
    scored = list(scorer.score(classes, load, workers=workers))
    wait_for(device)
    num_images = sum(len(rows) for _, rows in classes)
    return {
        "images_per_s": num_images / (time.perf_counter() - started),
        "cpu_ms_per_image": (time.process_time() - cpu) / num_images * 1e3,
        "device_mb": torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else 0.0,
        "scored": scored,
    }


def score_plainly(network: nn.Module, job: Job) -> float:
    """Returns images per second of the plain algorithm, class by class, including the start of its loader."""
    log("the plain side")
    dataset = ImageFolder(job.source, transform=CropEach(job))
    started, done = time.perf_counter(), 0
    for index in range(len(dataset.classes)):
        rows = [row for row, target in enumerate(dataset.targets) if target == index][: job.num_candidates]
        score_class(job, dataset, rows, index, network)
        done += len(rows)
    return done / (time.perf_counter() - started)


def label_rate(network: nn.Module) -> float:
    """Returns labelled views per second: views made and labelled by the teacher on the device, nothing stored."""
    log("labelling")
    device = next(network.parameters()).device
    teacher = CanvasNetwork(network, patch_px=SIZE, size=SIZE)
    recipe = ViewRecipe(size=SIZE, factor=FACTOR, crop_scale_min=0.5, flip=True, mix="cutmix")
    rows = LABEL_ROWS if device.type == "cuda" else 4
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (rows, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator).to(device)
    views = draw_views(recipe, rows, generator)
    views = type(views)(*(getattr(views, name).to(device) for name in type(views).__slots__))
    mean, std = Preprocessing().mean, Preprocessing().std

    def label() -> Tensor:
        with torch.inference_mode():
            return teacher(apply_views(images, views, mean=mean, std=std))

    return rows / seconds_of(label, device, at_least_s=2.0)


def same_selection(first: list[ScoredClass[Row]], second: list[ScoredClass[Row]]) -> int:
    """Returns the number of classes whose chosen patches and ranks are the same."""
    return sum(
        torch.equal(ours.candidates, theirs.candidates) and torch.equal(ours.crops, theirs.crops)
        for ours, theirs in zip(map(_selected, first), map(_selected, second), strict=True)
    )


def _selected(scored: ScoredClass[Row]) -> Any:
    return select_patches(scored.scores, min(IPC * FACTOR**2, len(scored.rows)))


def measure(device: torch.device, work: Path, *, num_classes: int, per_class: int, plain: int) -> dict[str, Any]:
    """Runs all measurements, logging each, and returns the figures."""
    log("photographs")
    source = work / "photos"
    with ProcessPoolExecutor(num_available_cores()) as pool:
        list(pool.map(partial(write_class, source, per_class=per_class, px=PHOTO_PX), range(num_classes)))
    folders = sorted(source.iterdir())[:num_classes]
    classes = [(index, sorted(folder.iterdir())[:per_class]) for index, folder in enumerate(folders)]
    files = [path.read_bytes() for _, rows in classes for path in rows][:2000]
    network = make_observer(device)
    job = Job(
        source=str(source), arch="resnet18", weights="", size=SIZE, factor=FACTOR, ipc=IPC, num_candidates=plain,
        num_crops=NUM_CROPS, out="", cores=num_available_cores(),
    )  # fmt: skip
    # bfloat16 is too slow on a CPU, where this script is only tried out.
    precisions = ("float32", "bfloat16") if device.type == "cuda" else ("float32",)
    log("rates of the machine")
    with one_torch_thread():
        floors = measure_device_floors(device, files, workers=num_available_cores())
        runs = {name: score(network, classes, getattr(torch, name)) for name in precisions}
        some = [(index, rows[:48]) for index, rows in classes[:1]]
        on_cpu = score(network.cpu(), some, torch.float32)["scored"]
        on_device = score(network.to(device), some, getattr(torch, precisions[-1]))["scored"]
    scored = {name: run.pop("scored") for name, run in runs.items()}
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cores": num_available_cores(),
        "torch": torch.__version__,
        "images": sum(len(rows) for _, rows in classes),
        "floors": floors.as_dict(),
        "gflop_per_image": _gflop(network),
        "plain_images_per_s": score_plainly(network, job),
        "ours": runs,
        "labels_per_s": label_rate(network),
        "same_selection": {
            f"{precisions[-1]} against float32": [
                same_selection(scored[precisions[-1]], scored["float32"]),
                len(classes),
            ],
            f"{precisions[-1]} against the CPU's float32": [same_selection(on_device, on_cpu), len(some)],
        },
        "host_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    }


def log(part: str) -> None:
    """Prints to stderr which part begins."""
    print(f"{time.strftime('%H:%M:%S')}  {part}", file=sys.stderr, flush=True)


def _gflop(network: nn.Module) -> dict[str, float]:
    """Returns the GFLOP for one image: on whole canvases, with the shortcut, and for cropping by matrices."""
    canvas = CanvasNetwork(network, patch_px=SIZE // FACTOR, size=SIZE, dtype=torch.bfloat16)
    device = next(network.parameters()).device
    runs: dict[str, Callable[[], object]] = {
        "plain": lambda: network(torch.zeros(NUM_CROPS, 3, SIZE, SIZE, device=device)),
        "shortcut": lambda: canvas(torch.zeros(NUM_CROPS, 3, SIZE // FACTOR, SIZE // FACTOR, device=device)),
    }
    counted: dict[str, float] = {}
    for name, run in runs.items():
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            run()
        counted[name] = counter.get_total_flops() / 1e9
    height, width = PHOTO_PX
    patch_px = SIZE // FACTOR
    counted["crops"] = 2e-9 * NUM_CROPS * patch_px * width * 3 * (height + patch_px)
    return counted


def print_figures(figures: dict[str, Any]) -> None:
    """Prints the figures, and the projection with its arithmetic."""
    print(f"{figures['device']}, {figures['cores']} cores, torch {figures['torch']}: {figures['images']} photographs")
    print(f"{'':<22}{'images/s':>10}{'CPU ms/image':>14}{'device MB':>11}{'ratio':>8}{'ImageNet-1K, s':>16}")
    plain = figures["plain_images_per_s"]
    print(f"{'plain, float32':<22}{plain:>10.1f}{'':>14}{'':>11}{1:>8.2f}{IMAGENET_CANDIDATES / plain:>16.0f}")
    for name, run in figures["ours"].items():
        rate = run["images_per_s"]
        print(
            f"{'ours, ' + name:<22}{rate:>10.1f}{run['cpu_ms_per_image']:>14.2f}{run['device_mb']:>11.0f}"
            f"{rate / plain:>8.2f}{IMAGENET_CANDIDATES / rate:>16.0f}"
        )
    floors, gflop = figures["floors"], figures["gflop_per_image"]
    decode = IMAGENET_CANDIDATES / floors["decoded_per_s"]
    forward = IMAGENET_CANDIDATES * gflop["shortcut"] * 1e9 / floors["bfloat16_flops_per_s"]
    crops = IMAGENET_CANDIDATES * gflop["crops"] * 1e9 / floors["float32_flops_per_s"]
    ours = IMAGENET_CANDIDATES / next(reversed(figures["ours"].values()))["images_per_s"]
    floor = max(decode, forward + crops)
    print(
        f"floor       300 000 images: decode {decode:.0f} s ({floors['decoded_per_s']:.0f} images/s on all cores); "
        f"device {forward + crops:.0f} s ({gflop['shortcut']:.1f} GFLOP at {floors['bfloat16_flops_per_s'] / 1e12:.1f} "
        f"TFLOP/s bfloat16, {gflop['crops']:.1f} at {floors['float32_flops_per_s'] / 1e12:.1f} float32); copies "
        f"{floors['copied_bytes_per_s'] / 1e9:.1f} GB/s; scoring takes {ours / floor:.2f} of the larger"
    )
    print(
        f"labels      {figures['labels_per_s']:.0f} views/s, so {IMAGENET_VIEWS / figures['labels_per_s']:.0f} s for "
        "300 epochs of 10 000 images in float32"
    )
    for name, (equal, total) in figures["same_selection"].items():
        print(f"selection   {name}: {equal} of {total} classes the same")
    print(f"memory      {figures['host_mb']:.0f} MB at peak on the host")


def main() -> None:
    """Reads the command line, measures, prints and writes."""
    parser = argparse.ArgumentParser(description="scoring and labelling on one GPU")
    parser.add_argument(
        "--device", default="cuda", help="cuda, or cpu to try the script on a few images in some minutes (cuda)"
    )
    parser.add_argument("--work", default="bench-out/gpu", help="folder for the workload (bench-out/gpu)")
    parser.add_argument("--classes", type=int, default=16, help="classes (16)")
    parser.add_argument("--candidates", type=int, default=300, help="photographs per class (300)")
    parser.add_argument("--plain", type=int, default=60, help="photographs per class for the plain side (60)")
    parser.add_argument("--json", help="file to write the figures to")
    options = parser.parse_args()
    device = resolve_device(options.device)
    figures = measure(
        device, Path(options.work), num_classes=options.classes, per_class=options.candidates, plain=options.plain
    )
    print_figures(figures)
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
