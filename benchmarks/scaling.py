"""What a class costs: the same number of images in 10, 100 and 1000 classes, through the whole flow with Prefect.

    python -m benchmarks.scaling [--work DIR] [--images 3000]

The stages' own cost an image must stay flat, and what Prefect adds must not show.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.workload import write_observer, write_workload

CLASS_COUNTS = (10, 100, 1000)


def run_flow(source: Path, weights: Path, out: Path, *, per_class: int) -> dict[str, float]:
    """Distils in a process of its own and returns wall seconds: all of it, and the flow's own."""
    shutil.rmtree(out, ignore_errors=True)
    options = f"--observer rded:convnet3 --size 32 --factor 1 --ipc 1 --num-candidates {per_class} --label-epochs 1"
    flags = [*options.split(), "--force", "--device", "cpu", "--weights", str(weights), "--out", str(out)]
    command = [sys.executable, "-m", "deployments", "distill", str(source), *flags]
    started = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
    lines = [line for line in done.stderr.splitlines() if line[:2].isdigit() and line[2:3] == ":"]
    clock = [_seconds(line) for line in lines if "temporary server" not in line]
    return {"wall_s": time.perf_counter() - started, "flow_s": clock[-1] - clock[0]}


def _seconds(line: str) -> float:
    hours, minutes, seconds = line.split()[0].split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


def main() -> None:
    """Prints a table, a row a class count, and the figures as JSON."""
    parser = argparse.ArgumentParser(description="what a class costs")
    parser.add_argument("--work", default="bench-out", help="folder for the workload and outputs (bench-out)")
    parser.add_argument("--images", type=int, default=3000, help="images in all (3000)")
    given = parser.parse_args()
    work = Path(given.work).resolve()
    rows: list[dict[str, float]] = []
    print(f"{'classes':>8}{'wall s':>10}{'flow s':>10}{'flow ms an image':>18}")
    for num_classes in CLASS_COUNTS:
        per_class = given.images // num_classes
        source = write_workload(work / f"scale{num_classes}", num_classes=num_classes, per_class=per_class, px=(32, 32))
        weights = write_observer(
            work / f"scale{num_classes}.safetensors", arch="convnet3", num_classes=num_classes, size=32
        )
        found = run_flow(source, weights, work / "scale-out", per_class=per_class)
        rows.append({"classes": num_classes, **found})
        each = 1000 * found["flow_s"] / (num_classes * per_class)
        print(f"{num_classes:>8}{found['wall_s']:>10.1f}{found['flow_s']:>10.1f}{each:>18.1f}", flush=True)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
