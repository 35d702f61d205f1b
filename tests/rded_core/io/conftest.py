"""Fixtures for `rded_core.io`: files at local or remote paths, mutated files, and a process to read them in."""

import multiprocessing
import os
import resource
import struct
import tarfile
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rded_core.io.dataset.distilled import DistilledDataset

ROOT = Path(__file__).resolve().parents[3]

Put = Callable[[str, bytes], str]


@pytest.fixture(autouse=True)
def no_exit_hooks_in_forked_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes exit hooks, as DataLoader's workers are forked off this process, in which tests of flows may have run.

    At its end, a fork would call the hooks that Prefect has registered for this process, which fail there.
    """
    monkeypatch.setattr(threading, "_threading_atexits", [])


@pytest.fixture(params=["local", "memory"])
def put(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Put]:
    """Writes a file below a root, locally or in fsspec's memory, and returns the root."""
    root = str(tmp_path / "root") if request.param == "local" else f"memory://rded-{uuid4().hex}/root"

    def write(relative: str, data: bytes) -> str:
        if request.param == "local":
            (Path(root) / relative).parent.mkdir(parents=True, exist_ok=True)
            (Path(root) / relative).write_bytes(data)
        else:
            fsspec.filesystem("memory").pipe(f"{root}/{relative}", data)
        return root

    yield write
    if request.param == "memory":
        fsspec.filesystem("memory").rm(root, recursive=True)


@pytest.fixture(scope="session")
def distilled_folder(
    make_config: Callable[..., Any], run_undecorated: Callable[[Any], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A dataset of six images and twelve epochs in two files, recorded in batches of four and two, mixed by CutMix."""
    return run_undecorated(make_config(tmp_path_factory.mktemp("distilled") / "run", label_codec="float16"))


@pytest.fixture(scope="session")
def real_photographs() -> list[bytes]:
    """Some real photographs, from the folder in RDED_REAL_IMAGES or ../shared/data: files, or tars of them."""
    folder = Path(os.environ.get("RDED_REAL_IMAGES", ROOT.parent / "shared" / "data"))
    photographs = [path.read_bytes() for path in islice(sorted(folder.rglob("*.[jJ][pP]*[gG]")), 4)]
    for path in sorted(folder.glob("*.tar.gz")):
        with tarfile.open(path) as archive:
            pictures = (member for member in archive if member.name.lower().endswith((".jpg", ".jpeg", ".png")))
            photographs += [archive.extractfile(member).read() for member in islice(pictures, 4)]  # type: ignore[union-attr]
    if not photographs:
        pytest.skip(f"no photographs in {folder.name}; name a folder of them in RDED_REAL_IMAGES")
    return photographs


EXTREMES = [
    *(struct.pack(f"{order}{width}", number) for order in "<>" for width in "hiq" for number in (-1, 0, 1)),
    *(
        struct.pack(f"{order}{width}", 2**bits - 1)
        for order in "<>"
        for width, bits in (("h", 15), ("i", 31), ("q", 63))
    ),
    *(struct.pack(f"{order}{width}", number) for order in "<>" for width, number in (("H", 9000), ("I", 9000))),
    *(b"77777777777\0", b"00000000000\0", b"\xff" * 12, b"\x80" + b"\0" * 6 + b"\x02" + b"\0" * 4, b"-1", b"9" * 19),
]
"""Sizes and counts that no file has, as headers encode them (tars in octal or base 256)."""

EDITS: dict[str, Callable[[bytes, int, int, bytes], bytes]] = {
    "flip": lambda data, at, length, _: (
        data[:at] + bytes(b ^ 1 << length % 8 for b in data[at : at + 1]) + data[at + 1 :]
    ),
    "overwrite": lambda data, at, _, other: data[:at] + other + data[at + len(other) :],
    "insert": lambda data, at, _, other: data[:at] + other + data[at:],
    "delete": lambda data, at, length, _: data[:at] + data[at + length :],
    "duplicate": lambda data, at, length, _: data[: at + length] + data[at:],
    "zeros": lambda data, at, length, _: data[:at] + bytes(len(data[at : at + length])) + data[at + length :],
    "truncate": lambda data, at, *_: data[:at],
}


@st.composite
def mutated_files(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """Draws a stored file with one to five edits, its checksums corrected in half of the draws."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 5))):
        at = draw(_places(len(data)))
        if draw(st.integers(0, 7)) == 0:
            other = draw(st.sampled_from(seeds))
            data = data[:at] + other[draw(_places(len(other))) :]
        else:
            edit = EDITS[draw(st.sampled_from(sorted(EDITS)))]
            length = draw(st.one_of(st.integers(1, 16), st.integers(1, 4096)))
            data = edit(
                data, at, length, draw(st.one_of(st.sampled_from(EXTREMES), st.binary(min_size=1, max_size=12)))
            )
    return with_checksums(data) if draw(st.booleans()) else data


def _places(length: int) -> st.SearchStrategy[int]:
    """Returns a strategy for positions in a file: anywhere, but more often in its header or footer."""
    anywhere = st.integers(0, length)
    return st.one_of(
        anywhere,
        anywhere.map(int),
        st.integers(0, min(length, 64)),
        st.integers(0, min(length, 600)).map(length.__sub__),
    )


def with_checksums(data: bytes) -> bytes:
    """Returns the data with correct checksums of PNG chunks or tar headers, so that readers trust the rest."""
    out = bytearray(data)
    if data.startswith(b"\x89PNG"):
        at = 8
        while at + 12 <= len(data):
            end = at + 8 + int.from_bytes(data[at : at + 4], "big")
            out[end : end + 4] = struct.pack(">I", zlib.crc32(data[at + 4 : end]))[: max(len(data) - end, 0)]
            at = end + 4
    for at in range(0, len(data) - 511, 512):
        if data[at + 257 : at + 262] == b"ustar":
            out[at + 148 : at + 156] = b" " * 8
            out[at + 148 : at + 156] = b"%06o\0 " % sum(out[at : at + 512])
    return bytes(out)


Read = Callable[[bytes], str]
"""Reads a file from its bytes and returns the name of the outcome; raises if that outcome is not allowed."""


@dataclass
class Examined:
    """Results of many files: the count of each outcome, and the most memory that a child took beyond its start."""

    outcomes: Counter[str] = field(default_factory=Counter)
    peak_bytes: int = 0


@pytest.fixture(scope="session")
def examine() -> Callable[..., Examined]:
    """Reads `count` mutations of the seeds: the same ones every time here, or new ones in a child process."""

    def run(read: Read, seeds: Sequence[bytes], *, count: int, in_child: bool = False) -> Examined:
        examined = Examined()
        child = Child(read) if in_child else None

        @settings(
            max_examples=count,
            derandomize=child is None,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink),
        )
        @given(mutated_files(list(seeds)))
        def each(data: bytes) -> None:
            outcome, taken = child.read(data) if child else (read(data), 0)
            examined.outcomes[outcome] += 1
            examined.peak_bytes = max(examined.peak_bytes, taken)

        try:
            each()
        finally:
            if child:
                child.stop()
        return examined

    return run


class Child:
    """A process that reads files with limits on memory and on time per file; if it ends, that is an error here."""

    LIMIT_S = 20.0
    LIMIT_BYTES = 4 << 30

    def __init__(self, read: Read) -> None:
        self._read = read
        self._start()

    def _start(self) -> None:
        self._ours, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("fork").Process(target=self._serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def read(self, data: bytes) -> tuple[str, int]:
        """Returns the outcome of one file, and the memory in bytes that the child has taken so far."""
        if not self._process.is_alive():
            self._start()
        self._ours.send_bytes(data)
        try:
            has_answer = self._ours.poll(self.LIMIT_S)
            outcome, taken, fault = self._ours.recv() if has_answer else ("", 0, f"not done after {self.LIMIT_S} s")
        except EOFError:
            self._process.join()
            outcome, taken, fault = "", 0, f"the process died with exit code {self._process.exitcode}"
        if not outcome:
            self.stop()
            raise AssertionError(fault)
        return outcome, taken

    def stop(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.join()

    def _serve(self, theirs: Connection) -> None:
        start = _address_space()
        resource.setrlimit(resource.RLIMIT_AS, (start + self.LIMIT_BYTES,) * 2)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        while True:
            data = theirs.recv_bytes()
            try:
                outcome, fault = self._read(data), ""
            except BaseException as error:
                outcome, fault = "", f"{type(error).__name__}: {error} in {_place_of(error)}"
            theirs.send((outcome, 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak), fault))


def _address_space() -> int:
    pages = Path("/proc/self/statm").read_text().split()[0]
    return int(pages) * resource.getpagesize()


def _place_of(error: BaseException) -> str:
    trace = error.__traceback__
    places: list[str] = []
    while trace:
        places.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return " < ".join(reversed(places))


@pytest.fixture(scope="module")
def dataset(distilled_folder: Path) -> DistilledDataset:
    """Six images, twelve epochs, two batches each."""
    return DistilledDataset(distilled_folder)
