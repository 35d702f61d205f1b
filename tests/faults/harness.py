"""Runs that are watched, killed and held to an undisturbed one."""

import contextlib
import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.child import Options, plain_name, run_undecorated

TIME_LIMIT_S = 240.0
POLL_S = 0.004

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["tests.faults.child", "deployments.cli.main", "deployments.cli.reports", "flows.evaluate"]
)


@dataclass(slots=True)
class Child:
    """A running command.

    Attributes:
        pid: of the process, which leads a session of its own.
        output: what it prints.
        poll: returns its exit code (minus the signal that ended it), None while it runs.
    """

    pid: int
    output: Path
    poll: Callable[[], int | None]

    @property
    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def wait(self) -> int:
        """Returns the exit code; raises where the command hangs."""
        ends = time.monotonic() + TIME_LIMIT_S
        while (code := self.poll()) is None:
            if time.monotonic() > ends:
                self.kill()
                raise AssertionError(f"still running after {TIME_LIMIT_S} s:\n{self.text}")
            time.sleep(POLL_S)
        return code

    def kill(self) -> int:
        """Kills the process and all that it started."""
        with contextlib.suppress(ProcessLookupError):  # it may have ended just now
            os.killpg(self.pid, signal.SIGKILL)
        return self.wait()


@dataclass(slots=True)
class Command:
    """One ``rded`` command, to be started as often as it takes.

    Attributes:
        arguments: of the command line.
        out: folder that it writes.
        logs: folder for what it prints.
        environment: for the whole command, in a process of its own with Prefect; None runs it undecorated.
    """

    arguments: list[str]
    out: Path
    logs: Path
    environment: dict[str, str] | None = None

    def start(self, **options: object) -> Child:
        """Starts it; `options` are those of `Options`."""
        given = Options(root=str(self.out), **options)  # pyright: ignore[reportArgumentType]
        number = len(list(self.logs.iterdir()))
        output = self.logs / f"{number:04d}.txt"
        output.touch(0o666)
        output.chmod(0o666)
        if self.environment is None:
            return self._fork(given, output)
        return self._spawn(given, output)

    def _fork(self, options: Options, output: Path) -> Child:
        process = FORKS.Process(target=run_undecorated, args=(self.arguments, options, str(output)))
        process.start()
        assert process.pid
        return Child(process.pid, output, lambda: process.exitcode)

    def _spawn(self, options: Options, output: Path) -> Child:
        plain = options == Options(root=options.root)
        script = ["tests.faults.child", str(options.save(output.with_suffix(".json")))]
        module = ["deployments"] if plain else script
        with output.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", *module, *self.arguments],
                env=self.environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True,
            )  # fmt: skip
        return Child(process.pid, output, process.poll)

    def finish(self, **options: object) -> Child:
        """Runs it to its end, which must be a good one."""
        child = self.start(**options)
        code = child.wait()
        assert code == 0, child.text
        return child


def stage_of(path: str) -> str:
    """Names the stage that a file of a run folder, relative to it, belongs to."""
    parts = path.split("/")
    if parts[0] == "work" and len(parts) > 2:
        return "publish: assemble" if parts[1].startswith("dataset") else parts[1]
    if parts[0] == "dataset" or parts[-1].startswith("dataset"):
        return "publish: swap"
    return "lock" if parts[0] == ".lock" else "prepare"


def entries(root: Path) -> dict[str, tuple[int, int]]:
    """Maps each file below a folder that may change meanwhile to its inode and time of change."""
    found: dict[str, tuple[int, int]] = {}
    folders = [str(root)]
    while folders:
        try:
            with os.scandir(folders.pop()) as scan:
                for entry in scan:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        status = entry.stat()
                        found[os.path.relpath(entry.path, root)] = (status.st_ino, status.st_mtime_ns)
        except OSError:
            continue
    return found


def watch(child: Child, out: Path) -> Iterator[str]:
    """Yields each file that appears, or takes another's place, while a command runs; polls all the time."""
    seen = {path: inode for path, (inode, _) in entries(out).items()}
    while child.poll() is None:
        for path, (inode, _) in entries(out).items():
            if seen.get(path) != inode:
                seen[path] = inode
                yield plain_name(path)
        time.sleep(POLL_S)


def sha256(path: Path) -> str:
    """Returns a file's digest, without a function of the code under test."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_sums(dataset: Path) -> None:
    """Does what ``sha256sum -c`` does, and holds that nothing else lies there."""
    listed = dict(reversed(line.split("  ", 1)) for line in (dataset / "SHA256SUMS").read_text().splitlines())
    there = {path for path in entries(dataset) if path != "SHA256SUMS"}
    assert there == listed.keys(), f"{there ^ listed.keys()} in {dataset}"
    wrong = [path for path in there if sha256(dataset / path) != listed[path]]
    assert not wrong, f"{wrong} of {dataset} are not what SHA256SUMS says"


@dataclass(slots=True)
class Outcome:
    """What a run must come to: its sums, and the files of its folder."""

    sums: str
    files: set[str]

    @classmethod
    def of(cls, out: Path) -> "Outcome":
        return cls((out / "dataset" / "SHA256SUMS").read_text(), set(entries(out)))


@dataclass(slots=True)
class Remains:
    """What a killed run left: its records, and the files they name, which nobody may write again.

    Attributes:
        files: by each record that holds, its own path and its outputs' to inode and time of change.
        records: path of each record to its bytes.
    """

    out: Path
    files: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)
    records: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, out: Path) -> "Remains":
        remains = cls(out)
        there = entries(out)
        for path in there:
            folder, name = Path(path).parent, Path(path).name
            is_record = folder.parent == Path("work") and folder.name != "dataset" and not name.startswith(".")
            if is_record and name.endswith(".json"):
                remains._add(path, there)
        return remains

    def _add(self, path: str, there: dict[str, tuple[int, int]]) -> None:
        data = (self.out / path).read_bytes()
        folder, record = Path(path).parent, json.loads(data)
        outputs = {f"{folder}/{name}": digest for name, digest in record.get("outputs", {}).items()}
        if not self._names_dataset(record):  # killed once another dataset had taken its place
            return
        if all(name in there and sha256(self.out / name) == digest for name, digest in outputs.items()):
            self.records[path] = data
            self.files[path] = {name: there[name] for name in (path, *outputs)}

    def _names_dataset(self, record: dict[str, Any]) -> bool:
        """Tells whether the dataset is the one that a record names; every other record names none."""
        named = record.get("facts", {}).get("sums")
        sums = self.out / "dataset" / "SHA256SUMS"
        return named is None or (sums.is_file() and sha256(sums) == named)

    def check_kept(self, after: "Remains", *, unchanged: bool) -> int:
        """Holds that work which is still true was not done again; returns how many records that was.

        Args:
            after: the finished run's.
            unchanged: nothing but kills happened, so that all of it is still true.
        """
        same = {path for path, data in self.records.items() if after.records.get(path) == data}
        if unchanged:
            gone = {path for path in self.records.keys() - same if not path.startswith("work/soft_labels/images-")}
            assert not gone, f"records that changed: {gone}"
        again = [path for path in same if after.files[path] != self.files[path]]
        assert not again, f"done again: {again}"
        return len(same)


def check_finished(out: Path, expected: Outcome) -> None:
    """Holds that a run folder is what an undisturbed run would have made of it, with nothing left over."""
    assert (out / "dataset" / "SHA256SUMS").read_text() == expected.sums
    check_sums(out / "dataset")
    assert set(entries(out)) == expected.files, f"left or missing: {set(entries(out)) ^ expected.files}"
    assert not [path for path in out.rglob("*") if path.is_dir() and not any(path.iterdir())], "an empty folder"


def processes_below(folder: Path) -> list[str]:
    """Returns the command lines of processes that name a path below a folder."""
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in command and int(process.name) != os.getpid():
            found.append(command)
    return found
