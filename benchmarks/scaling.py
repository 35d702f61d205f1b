"""Cost of an image for different numbers of classes, candidates and cores, through the whole flow with Prefect.

    python -m benchmarks.scaling [--work DIR] [--images 3000] [--cores 1,2] [--json FILE]

About seven minutes on two cores. Three tables: the same number of images in 10, 100 and 1000 classes; 30, 100 and 300
candidates in each of ten classes; one and two cores. The cost of an image must stay flat, apart from a run's fixed
cost, and Prefect's overhead must not show: the column *again* is the same run a second time, with nothing left to do.

Larger: ``--images 30000`` (an hour on two cores); more cores: ``--cores 1,2,4,8,16``, each run pinned to that many of
the machine's. Images of 32 px and an untrained ConvNet-3 keep the networks' share small.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.workload import write_observer, write_workload

CLASS_COUNTS = (10, 100, 1000)
CANDIDATES = (30, 100, 300)
FEW_CLASSES = 10
LOG_LINE = re.compile(r"(\d\d):(\d\d):([\d.]+)  (?!.*temporary server)")
COLUMNS = ("classes", "candidates", "cores", "images", "wall s", "flow s", "again s", "ms/image", "peak MB")

SECONDS = {"wall s", "flow s", "again s", "ms/image"}

Row = dict[str, float]


def measure(work: Path, *, classes: int, candidates: int, cores: int, again: bool = False) -> Row:
    """Distils a workload from scratch (and a second time, with nothing to do) and returns its cost."""
    name = f"scale{classes}"
    source = write_workload(work / f"{name}x{candidates}", num_classes=classes, per_class=candidates, px=(32, 32))
    weights = write_observer(work / f"{name}.safetensors", arch="convnet3", num_classes=classes, size=32)
    out = work / "scale-out"
    shutil.rmtree(out, ignore_errors=True)
    options = f"--observer rded:convnet3 --size 32 --factor 1 --ipc 1 --num-candidates {candidates} --label-epochs 1"
    paths = ["--weights", str(weights), "--out", str(out)]
    command = [sys.executable, "-m", "deployments", "distill", str(source), *options.split(), "--force", *paths]
    first = _run([*command, "--device", "cpu"], cores)
    second = _run([*command, "--device", "cpu"], cores) if again else {}
    images = classes * candidates
    return {
        "classes": classes,
        "candidates": candidates,
        "cores": cores,
        "images": images,
        **first,
        **({"again s": second["flow s"]} if again else {}),
        "ms/image": 1000 * first["flow s"] / images,
    }


def _run(command: list[str], cores: int) -> Row:
    """Runs one flow on `cores` cores; returns the process's wall seconds, the flow's by its log, and peak memory."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[:cores])  # children inherit it
    started = time.perf_counter()
    try:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    finally:
        os.sched_setaffinity(0, allowed)
    assert process.stderr
    lines = process.stderr.read().splitlines()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError("\n".join(lines[-20:]))
    clock = [3600 * int(h) + 60 * int(m) + float(s) for h, m, s in (match.groups() for match in _times(lines))]
    wall_s = time.perf_counter() - started
    return {"wall s": wall_s, "flow s": clock[-1] - clock[0], "peak MB": used.ru_maxrss / 1000}


def _times(lines: list[str]) -> list[re.Match[str]]:
    return [match for line in lines if (match := LOG_LINE.match(line))]


def print_row(row: Row) -> None:
    """Prints one line of a table; a dash stands for a figure that was not measured."""
    cells = (f"{row[name]:.1f}" if name in SECONDS else f"{row[name]:.0f}" for name in COLUMNS if name in row)
    filled = iter(cells)
    print("".join(f"{next(filled) if name in row else '-':>12}" for name in COLUMNS), flush=True)


def main() -> None:
    """Prints three tables, and the figures as JSON."""
    parser = argparse.ArgumentParser(
        description="cost of an image for different numbers of classes, candidates and cores"
    )
    parser.add_argument("--work", default="bench-out", help="folder for the workload and outputs (bench-out)")
    parser.add_argument("--images", type=int, default=3000, help="images in the table of classes (3000)")
    parser.add_argument("--cores", default="1,2", help="numbers of cores to compare (1,2)")
    parser.add_argument("--json", help="file for the figures")
    options = parser.parse_args()
    work = Path(options.work).resolve()
    cores = [int(number) for number in options.cores.split(",")]
    most = max(cores)
    by_classes = [{"classes": n, "candidates": options.images // n, "cores": most, "again": True} for n in CLASS_COUNTS]
    by_candidates = [{"classes": FEW_CLASSES, "candidates": n, "cores": most} for n in CANDIDATES]
    by_cores = [{"classes": FEW_CLASSES, "candidates": CANDIDATES[-1], "cores": n} for n in cores]
    rows: dict[str, list[Row]] = {}
    for title, jobs in (("classes", by_classes), ("candidates", by_candidates), ("cores", by_cores)):
        print(f"\nby {title}\n" + "".join(f"{name:>12}" for name in COLUMNS), flush=True)
        rows[title] = []
        for job in jobs:
            rows[title].append(measure(work, **job))
            print_row(rows[title][-1])
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
