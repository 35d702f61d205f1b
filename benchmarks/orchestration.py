"""Overhead that Prefect adds to a run with ImageNet-1K's shape, compared with plain calls of the same functions.

    python -m benchmarks.orchestration [--work DIR] [--shards default,20,50,100] [--repeats 2] [--json FILE]

1000 classes of a few tiny JPEGs in WebDataset tars, an observer of negligible cost, one image per class: only reading,
writing and orchestration remain. Three sides alternate, each in a separate process: *plain* (decorators removed, no
Prefect), *ephemeral* (what ``rded distill`` does if no server is named: Prefect's temporary server) and *server* (a
running one, with the settings of ``rded up``). Overhead is a side's flow minus the plain one's, and must stay under 5 %
of the published seven minutes for ImageNet-1K; imports and the start of a server are listed separately, since every
process pays for them once. All sides must give the same SHA256SUMS.
"""

import argparse
import json
import os
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.orchestrated_run import NUM_CLASSES
from benchmarks.workload import photo_like
from deployments.environment import prepare_environment
from rded_core.io.formats.shards import write_shard

PUBLISHED_S = 420.0
MOST_S = 0.05 * PUBLISHED_S
CLASSES_PER_TAR = 100
SIDES = ("plain", "ephemeral", "server")
START_POLLS = 240
ROW_POLLS = 30
NAMES = ("imports s", "server s", "flow s", "flow CPU s", "end s", "over s", "over CPU s", "% of 420")
COLUMNS = (("shards", 9), ("side", 11), ("task runs", 11), *((name, 11) for name in NAMES))
ROWS_BY_STATE = """
SELECT state_name, count(*) FROM task_run
WHERE flow_run_id = (SELECT id FROM flow_run ORDER BY created DESC LIMIT 1) GROUP BY state_name
"""

Run = dict[str, Any]


def write_source(folder: Path, *, per_class: int) -> Path:
    """Writes ten tars of a hundred classes each, unless they exist, and returns their folder."""
    for first in range(0, NUM_CLASSES, CLASSES_PER_TAR):
        path = folder / f"train-{first // CLASSES_PER_TAR:06d}.tar"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_shard(path, _samples(range(first, first + CLASSES_PER_TAR), per_class))
    return folder


def _samples(classes: range, per_class: int) -> Iterator[tuple[str, dict[str, bytes]]]:
    for index in classes:
        for number in range(per_class):
            image = photo_like(np.random.default_rng([0, index, number]), 32, 32)
            yield f"{index:04d}-{number:03d}", {"jpg": image, "cls": str(index).encode()}


def make_fields(work: Path, source: Path, *, shards: str, per_class: int) -> dict[str, Any]:
    """Returns the config of a run; `shards` is the number of class shards, or ``default``."""
    return {
        "source": str(source), "observer": "benchmarks.orchestrated_run:stub", "ipc": 1, "out": str(work / "out"),
        "num_candidates": per_class, "num_crops": 1, "factor": 1, "size": 32, "label_epochs": 1,
        "classes_per_shard": None if shards == "default" else -(-NUM_CLASSES // int(shards)),
        "device": "cpu", "force": True,
    }  # fmt: skip


def run_side(side: str, fields: dict[str, Any], server: "Server") -> Run:
    """Runs one side in a separate process and returns its costs, including the running server's if it uses that."""
    shutil.rmtree(fields["out"], ignore_errors=True)
    environment = {**os.environ, "PREFECT_LOGGING_LEVEL": "ERROR"}
    if side == "server":
        environment["PREFECT_API_URL"] = server.api_url
    before = server.cpu_s()
    command = [sys.executable, "-m", "benchmarks.orchestrated_run", side, json.dumps(fields)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    costs: Run = json.loads(done.stdout.splitlines()[-1])
    costs["end_s"] = time.time() - costs["ended"]
    if side == "server":
        costs["cpu_s"]["flow"] += server.cpu_s() - before
    return costs


class Server:
    """The benchmark's own Prefect server, with the settings of ``rded up``.

    Attributes:
        api_url: URL of its API.
        home: Prefect's home, whose database the temporary servers of other sides use too.
    """

    def __init__(self, home: Path, port: int) -> None:
        self.home, self.api_url = home, f"http://127.0.0.1:{port}/api"
        home.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        with (home / "server.log").open("wb") as log:
            self._process = psutil.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def cpu_s(self) -> float:
        """Returns the CPU seconds that the server has used so far."""
        used = [process.cpu_times() for process in (self._process, *self._process.children(recursive=True))]
        return sum(times.user + times.system for times in used)

    def await_health(self) -> None:
        """Returns once the server answers."""
        for _ in range(START_POLLS):
            with suppress(OSError), urllib.request.urlopen(f"{self.api_url}/health", timeout=5):
                return
            time.sleep(0.5)
        raise RuntimeError(f"no server answers at {self.api_url}; see its log {self.home / 'server.log'}")

    def count_rows(self, num_runs: int) -> dict[str, int]:
        """Returns the newest flow run's task runs by state, once `num_runs` have ended or time is up."""
        counts: dict[str, int] = {}
        for _ in range(ROW_POLLS):
            with closing(sqlite3.connect(f"file:{self.home / 'prefect.db'}?mode=ro", uri=True)) as database:
                counts = dict(database.execute(ROWS_BY_STATE).fetchall())
            if counts.get("Completed", 0) + counts.get("Cached", 0) >= num_runs:
                break
            time.sleep(1.0)
        return counts

    def stop(self) -> None:
        """Stops the server."""
        os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait(30)


def measure(work: Path, source: Path, server: Server, *, shards: str, per_class: int, repeats: int) -> dict[str, Run]:
    """Runs the three sides alternately and returns the medians of their costs.

    Raises:
        RuntimeError: they do not give the same bytes.
    """
    fields = make_fields(work, source, shards=shards, per_class=per_class)
    runs: dict[str, list[Run]] = {side: [] for side in SIDES}
    for repeat in range(repeats):
        for side, kept in runs.items():
            print(f"{shards} shards: repeat {repeat + 1} of {repeats}, {side}", file=sys.stderr, flush=True)
            kept.append(run_side(side, fields, server))
            if side != "plain":
                kept[-1]["rows"] = server.count_rows(runs["plain"][0]["calls"])
    if len({run["sums"] for kept in runs.values() for run in kept}) > 1:
        raise RuntimeError(f"{shards} shards: the sides do not give the same SHA256SUMS")
    return {side: _summarise(kept, runs["plain"][0]["calls"]) for side, kept in runs.items()}


def _summarise(kept: list[Run], num_runs: int) -> Run:
    parts = {
        f"{part} {kind}": statistics.median(run[kind][part] for run in kept)
        for kind in ("wall_s", "cpu_s")
        for part in kept[0][kind]
    }
    end_s = statistics.median(run["end_s"] for run in kept)
    return {**parts, "end_s": end_s, "task_runs": num_runs, "rows": [run.get("rows", {}) for run in kept]}


def print_rows(shards: str, runs: dict[str, Run]) -> None:
    """Prints one line per side: its costs, and its flow's overhead, also as a share of the published time."""
    plain = runs["plain"]
    for side, run in runs.items():
        wall, cpu = (run[f"flow {kind}"] - plain[f"flow {kind}"] for kind in ("wall_s", "cpu_s"))
        numbers = [
            run["imports wall_s"], run["server start wall_s"], run["flow wall_s"], run["flow cpu_s"], run["end_s"],
            wall, cpu, 100 * wall / PUBLISHED_S,
        ]  # fmt: skip
        rows = [counts.get("Completed", 0) + counts.get("Cached", 0) for counts in run["rows"]]
        kept = "" if side == "plain" else f"   rows {', '.join(map(str, rows))} of {run['task_runs']}"
        cells = "".join(f"{number:>11.1f}" for number in numbers)
        print(f"{shards:>9}{side:>11}{run['task_runs']:>11}{cells}{kept}", flush=True)


def main() -> None:
    """Prints a table, and the figures as JSON."""
    parser = argparse.ArgumentParser(description="overhead that Prefect adds to a run with ImageNet-1K's shape")
    parser.add_argument(
        "--work", default="bench-out", help="folder for the source, outputs and Prefect's home (bench-out)"
    )
    parser.add_argument("--shards", default="default,20,50,100", help="numbers of class shards (default,20,50,100)")
    parser.add_argument("--per-class", type=int, default=3, help="images per class (3)")
    parser.add_argument("--repeats", type=int, default=2, help="runs of each side (2)")
    parser.add_argument("--port", type=int, default=4390, help="port of the benchmark's server (4390)")
    parser.add_argument("--json", help="file for the figures")
    options = parser.parse_args()
    work = Path(options.work).resolve() / "orchestration"
    os.environ["PREFECT_HOME"] = str(work / "prefect")
    os.environ.pop("PREFECT_API_URL", None)
    prepare_environment()
    source = write_source(work / "source", per_class=options.per_class)
    server = Server(work / "prefect", options.port)
    results: dict[str, dict[str, Run]] = {}
    try:
        server.await_health()
        print("".join(f"{name:>{width}}" for name, width in COLUMNS))
        for shards in options.shards.split(","):
            results[shards] = measure(
                work, source, server, shards=shards, per_class=options.per_class, repeats=options.repeats
            )
            print_rows(shards, results[shards])
    finally:
        server.stop()
    over = {
        side: max(by[side]["flow wall_s"] - by["plain"]["flow wall_s"] for by in results.values()) for side in SIDES[1:]
    }
    overheads = ", ".join(f"{side} {seconds:.1f} s" for side, seconds in over.items())
    print(f"largest overhead: {overheads}; 5 % of the published {PUBLISHED_S:.0f} s are {MOST_S:.0f} s")
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
