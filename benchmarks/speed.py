"""``make bench``: this project compared with the plain algorithm, alternately, on one seeded workload.

    python -m benchmarks.speed [--work DIR] [--repeats 3] [--candidates 30] [--json FILE]

Each side runs in a separate process, so that its memory and CPU time can be measured; the two alternate, and the median
of the repeats is taken. Ratios are of CPU seconds (which other load on the machine hardly affects) and of wall clock.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.floors import measure_floors
from benchmarks.job import Job
from benchmarks.workload import PHOTO_PX, write_observer, write_workload
from rded_core.io.device.devices import num_available_cores

NUM_CLASSES = 10
IMAGENET_CANDIDATES = 1000 * 300


def make_jobs(work: Path, *, candidates: int, cores: int) -> dict[str, Job]:
    """Writes both workloads and returns their jobs: photographs with ResNet-18, 32 px images with ConvNet-3."""
    photos = write_workload(work / "photos", num_classes=NUM_CLASSES, per_class=candidates, px=PHOTO_PX)
    small = write_workload(work / "small", num_classes=NUM_CLASSES, per_class=10 * candidates, px=(32, 32))
    resnet = write_observer(work / "resnet18.safetensors", arch="resnet18", num_classes=NUM_CLASSES, size=224)
    convnet = write_observer(work / "convnet3.safetensors", arch="convnet3", num_classes=NUM_CLASSES, size=32)
    shared: dict[str, Any] = {"ipc": 2, "num_crops": 5, "out": str(work / "out"), "cores": cores}
    return {
        "photos, resnet18, 224 px, factor 2": Job(
            source=str(photos), arch="resnet18", weights=str(resnet), size=224, factor=2, num_candidates=candidates,
            **shared,
        ),
        "small images, convnet3, 32 px, factor 1": Job(
            source=str(small), arch="convnet3", weights=str(convnet), size=32, factor=1,
            num_candidates=10 * candidates, **shared,
        ),
    }  # fmt: skip


def run_side(side: str, job: Job) -> dict[str, Any]:
    """Runs one side in a separate process and returns its costs."""
    shutil.rmtree(job.out, ignore_errors=True)
    command = [sys.executable, "-m", f"benchmarks.{side}", json.dumps(asdict(job))]
    environment = {**os.environ, "PREFECT_LOGGING_LEVEL": "ERROR"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def compare(name: str, job: Job, *, repeats: int) -> dict[str, Any]:
    """Runs both sides alternately and returns medians, ratios and the distance to the floor."""
    runs: dict[str, list[dict[str, Any]]] = {"reference": [], "ours": []}
    for repeat in range(repeats):
        for side, kept in runs.items():
            print(f"{name}: repeat {repeat + 1} of {repeats}, {side}", file=sys.stderr, flush=True)
            kept.append(run_side(side, job))
    floors = measure_floors(job)
    num_images = NUM_CLASSES * job.num_candidates
    sides = {side: _summarise(kept, num_images) for side, kept in runs.items()}
    plain, ours = sides["reference"], sides["ours"]
    return {
        "workload": name,
        "images": num_images,
        "sides": sides,
        "score_ratio_cpu": plain["score_cpu_s"] / ours["score_cpu_s"],
        "score_ratio_wall": plain["score_wall_s"] / ours["score_wall_s"],
        "end_to_end_ratio_cpu": plain["all_cpu_s"] / ours["all_cpu_s"],
        "end_to_end_ratio_wall": plain["all_wall_s"] / ours["all_wall_s"],
        "floor": {**asdict(floors), "cpu_s_per_image": floors.cpu_s},
        "score_over_floor": ours["score_cpu_s"] / num_images / floors.cpu_s,
        "imagenet_minutes": _project(ours, num_images),
    }


def _summarise(runs: list[dict[str, Any]], num_images: int) -> dict[str, Any]:
    stages = {
        f"{stage}_{kind}": statistics.median(run[kind][stage] for run in runs)
        for kind in ("wall_s", "cpu_s")
        for stage in runs[0][kind]
    }
    totals = {f"all_{kind}": statistics.median(sum(run[kind].values()) for run in runs) for kind in ("wall_s", "cpu_s")}
    return {
        **stages,
        **totals,
        "score_images_per_s": num_images / stages["score_wall_s"],
        "score_images_per_cpu_s": num_images / stages["score_cpu_s"],
        "peak_mb": max(run["peak_bytes"] for run in runs) / 1e6,
    }


def _project(ours: dict[str, Any], num_images: int) -> float:
    """Returns the minutes for ImageNet-1K on this machine: 300 000 candidates at the measured wall clock per image."""
    return IMAGENET_CANDIDATES * ours["score_wall_s"] / num_images / 60


def print_table(result: dict[str, Any]) -> None:
    """Prints one workload's comparison."""
    print(f"\n{result['workload']}: {result['images']} candidates, 5 crops each")
    print(f"{'':<12}{'images/s':>10}{'per CPU-s':>11}{'score CPU-s':>13}{'all wall s':>12}{'peak MB':>10}")
    for side, costs in result["sides"].items():
        print(
            f"{side:<12}{costs['score_images_per_s']:>10.2f}{costs['score_images_per_cpu_s']:>11.2f}"
            f"{costs['score_cpu_s']:>13.1f}{costs['all_wall_s']:>12.1f}{costs['peak_mb']:>10.0f}"
        )
    stages = {name: value for name, value in result["sides"]["ours"].items() if name.endswith("_wall_s")}
    print("ours, wall s by stage: " + ", ".join(f"{name[:-7]} {value:.1f}" for name, value in stages.items()))
    print(
        f"ratio       score {result['score_ratio_cpu']:.2f} (CPU) {result['score_ratio_wall']:.2f} (wall), end to end "
        f"{result['end_to_end_ratio_cpu']:.2f} (CPU) {result['end_to_end_ratio_wall']:.2f} (wall)"
    )
    floor = result["floor"]
    gflop = {name: floor[f"flops_{name}"] / 1e9 for name in ("plain", "shortcut")}
    print(
        f"floor       {floor['cpu_s_per_image'] * 1000:.1f} ms of CPU per image: {gflop['shortcut']:.1f} GFLOP "
        f"(plain {gflop['plain']:.1f}) at {floor['matrix_flops_per_s'] / 1e9:.0f} GFLOP/s, "
        f"{floor['decode_s'] * 1000:.2f} ms decode; scoring takes {result['score_over_floor']:.2f} times that"
    )
    print(
        f"projection  ImageNet-1K, 300 000 candidates: {result['imagenet_minutes']:.0f} minutes to score on this "
        "machine"
    )


def main() -> None:
    """Runs both workloads, prints their tables and writes the figures as JSON."""
    parser = argparse.ArgumentParser(description="this project compared with the plain algorithm")
    parser.add_argument("--work", default="bench-out", help="folder for the workload and outputs (bench-out)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side (3)")
    parser.add_argument("--candidates", type=int, default=30, help="photographs per class, in 10 classes (30)")
    parser.add_argument("--only", choices=["photos", "small"], help="one of the two workloads")
    parser.add_argument("--json", help="file to write the figures to")
    parser.add_argument(
        "--gpu", action="store_true", help="measure a GPU instead, with benchmarks.gpu (which has more options)"
    )
    options = parser.parse_args()
    if options.gpu:
        command = [sys.executable, "-m", "benchmarks.gpu", "--work", options.work]
        sys.exit(
            subprocess.run([*command, *(["--json", options.json] if options.json else [])], check=False).returncode
        )
    cores = num_available_cores()
    work = Path(options.work).resolve()
    jobs = make_jobs(work, candidates=options.candidates, cores=cores)
    chosen = {name: job for name, job in jobs.items() if not options.only or name.startswith(options.only)}
    machine = {"cores": cores, "processor": platform.processor() or platform.machine(), "torch": torch.__version__}
    print(f"{machine['cores']} cores, {machine['processor']}, torch {machine['torch']}")
    results = [compare(name, job, repeats=options.repeats) for name, job in chosen.items()]
    for result in results:
        print_table(result)
    if options.json:
        Path(options.json).write_text(json.dumps({"machine": machine, "workloads": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
