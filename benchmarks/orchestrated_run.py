"""One distillation for `benchmarks.orchestration`, in a separate process: with Prefect, or with the decorators removed.

Prints its cost on the last line: wall-clock and CPU seconds per part, number of task calls, digest of the result.
"""

import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from deployments.environment import prepare_environment, tidy_logs

NUM_CLASSES = 1000


class Stub(nn.Module):
    """A network of negligible cost: the mean colour, times a fixed matrix."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(3, num_classes)
        with torch.no_grad():
            self.head.weight.copy_(torch.linspace(-1.0, 1.0, 3 * num_classes).reshape(num_classes, 3))
            self.head.bias.zero_()

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.mean((2, 3)))


def stub() -> nn.Module:
    """Returns the observer of the spec ``benchmarks.orchestrated_run:stub``."""
    return Stub(NUM_CLASSES)


class Clock:
    """Wall-clock and CPU seconds per part of the run, of this process and its descendants."""

    def __init__(self) -> None:
        self.wall_s: dict[str, float] = {}
        self.cpu_s: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Generator[None]:
        """Records the cost of a block."""
        wall, cpu = time.perf_counter(), _cpu_s()
        yield
        self.wall_s[name] = time.perf_counter() - wall
        self.cpu_s[name] = _cpu_s() - cpu


def _cpu_s() -> float:
    """Returns the CPU seconds of this process and its descendants, including Prefect's temporary server."""
    own = psutil.Process()
    used = [process.cpu_times() for process in (own, *own.children(recursive=True))]
    return sum(times.user + times.system for times in used)


def take_decorators_off() -> Counter[str]:
    """Makes the flow call plain functions for the rest of this process; returns the counter of their calls."""
    from prefect import Flow, Task

    import flows.distill

    calls: Counter[str] = Counter()
    for name, value in list(vars(flows.distill).items()):
        if isinstance(value, Flow):
            setattr(flows.distill, name, value.fn)
        elif isinstance(value, Task):
            setattr(flows.distill, name, _counted(value.fn, name, calls))
    return calls


def _counted(function: Callable[..., Any], name: str, calls: Counter[str]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        calls[name] += 1
        return function(*args)

    return call


def main() -> None:
    """Runs a config, given as JSON, on one side: ``plain``, ``ephemeral`` or ``server``."""
    side, fields, clock = sys.argv[1], json.loads(sys.argv[2]), Clock()
    with clock.part("imports"):
        prepare_environment()
        tidy_logs()
        import flows.distill
        from rded_core.config import DistillConfig
    with clock.part("server start"):
        if side == "ephemeral":
            from prefect.server.api.server import SubprocessASGIServer

            SubprocessASGIServer().start()
    calls = take_decorators_off() if side == "plain" else Counter[str]()
    with clock.part("flow"):
        record = flows.distill.distill(DistillConfig(**fields))
    sums = hashlib.sha256((Path(record["dataset"]) / "SHA256SUMS").read_bytes()).hexdigest()
    costs = {"wall_s": clock.wall_s, "cpu_s": clock.cpu_s, "calls": calls.total(), "sums": sums, "ended": time.time()}
    print(json.dumps(costs), flush=True)


if __name__ == "__main__":
    main()
