"""The job that both sides of the comparison do, and their costs."""

import json
import resource
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, kw_only=True)
class Job:
    """One distillation, up to the stored images.

    Attributes:
        source: folder of class folders.
        arch: the observer's network.
        weights: the observer's weights file.
        size: side of a distilled image in pixels.
        factor: patches per side.
        ipc: images per class.
        num_candidates: images scored per class.
        num_crops: crops per candidate.
        out: new folder to write to.
        cores: threads or loader processes to use.
    """

    source: str
    arch: str
    weights: str
    size: int
    factor: int
    ipc: int
    num_candidates: int
    num_crops: int
    out: str
    cores: int


@dataclass
class Costs:
    """Wall-clock and CPU seconds per stage, including children, and the peak memory of the process."""

    wall_s: dict[str, float] = field(default_factory=dict[str, float])
    cpu_s: dict[str, float] = field(default_factory=dict[str, float])
    peak_bytes: int = 0

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        """Adds the cost of a block to a stage; loader processes count once they have ended, inside the block."""
        wall, cpu = time.perf_counter(), _cpu_s()
        yield
        self.wall_s[name] = self.wall_s.get(name, 0.0) + time.perf_counter() - wall
        self.cpu_s[name] = self.cpu_s.get(name, 0.0) + _cpu_s() - cpu

    def print(self) -> None:
        """Prints the costs as JSON on the last line of stdout, for the process that compares."""
        own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        self.peak_bytes = max(own.ru_maxrss, children.ru_maxrss) * 1024
        print(json.dumps(asdict(self)), flush=True)


def read_job() -> Job:
    """Returns the job given on the command line as one JSON object."""
    return Job(**json.loads(sys.argv[1]))


def _cpu_s() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(part.ru_utime + part.ru_stime for part in used)
