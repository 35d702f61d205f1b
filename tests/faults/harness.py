"""Runs that are watched, killed and compared with an undisturbed run."""

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
        pid: id of the process, which leads its own session.
        output: file with its stdout and stderr.
        poll: returns its exit code (minus the signal's number if a signal ended it), None while it runs.
    """

    pid: int
    output: Path
    poll: Callable[[], int | None]

    @property
    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def wait(self) -> int:
        """Returns the exit code; raises AssertionError if the command hangs."""
        ends = time.monotonic() + TIME_LIMIT_S
        while (code := self.poll()) is None:
            if time.monotonic() > ends:
                self.kill()
                raise AssertionError(f"still running after {TIME_LIMIT_S} s:\n{self.text}")
            time.sleep(POLL_S)
        return code

    def kill(self) -> int:
        """Kills the process and all its descendants; returns the exit code."""
        with contextlib.suppress(ProcessLookupError):  # it may have ended just now
            os.killpg(self.pid, signal.SIGKILL)
        return self.wait()


@dataclass(slots=True)
class Command:
    """One ``rded`` command, which may be started several times.

    Attributes:
        arguments: arguments of the command line.
        out: folder that it writes.
        logs: folder for its output.
        environment: environment of a separate process that runs the whole command with Prefect; None runs it
            undecorated.
    """

    arguments: list[str]
    out: Path
    logs: Path
    environment: dict[str, str] | None = None

    def start(self, **options: object) -> Child:
        """Starts the command with the given fields of `Options`."""
        faults = Options(root=str(self.out), **options)  # pyright: ignore[reportArgumentType]
        number = len(list(self.logs.iterdir()))
        output = self.logs / f"{number:04d}.txt"
        output.touch(0o666)
        output.chmod(0o666)
        if self.environment is None:
            return self._fork(faults, output)
        return self._spawn(faults, output)

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
        """Runs the command to its end, and checks that it succeeds."""
        child = self.start(**options)
        code = child.wait()
        assert code == 0, child.text
        return child


def stage_of(path: str) -> str:
    """Returns the stage that a file belongs to, given its path in the run folder."""
    parts = path.split("/")
    if parts[0] == "work" and len(parts) > 2:
        return "publish: assemble" if parts[1].startswith("dataset") else parts[1]
    if parts[0] == "dataset" or parts[-1].startswith("dataset"):
        return "publish: swap"
    return "lock" if parts[0] == ".lock" else "prepare"


def entries(root: Path) -> dict[str, tuple[int, int]]:
    """Maps each file below a folder, which may change meanwhile, to its inode and modification time."""
    files: dict[str, tuple[int, int]] = {}
    folders = [str(root)]
    while folders:
        try:
            with os.scandir(folders.pop()) as scan:
                for entry in scan:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        status = entry.stat()
                        files[os.path.relpath(entry.path, root)] = (status.st_ino, status.st_mtime_ns)
        except OSError:
            continue
    return files


def watch(child: Child, out: Path) -> Iterator[str]:
    """Yields each file that appears or is replaced while a command runs; polls continuously."""
    seen = {path: inode for path, (inode, _) in entries(out).items()}
    while child.poll() is None:
        for path, (inode, _) in entries(out).items():
            if seen.get(path) != inode:
                seen[path] = inode
                yield plain_name(path)
        time.sleep(POLL_S)


def sha256(path: Path) -> str:
    """Returns a file's digest, without using the code under test."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_sums(dataset: Path) -> None:
    """Checks a dataset as ``sha256sum -c`` does, and that it holds no other files."""
    listed = dict(reversed(line.split("  ", 1)) for line in (dataset / "SHA256SUMS").read_text().splitlines())
    there = {path for path in entries(dataset) if path != "SHA256SUMS"}
    assert there == listed.keys(), f"{there ^ listed.keys()} in {dataset}"
    wrong = [path for path in there if sha256(dataset / path) != listed[path]]
    assert not wrong, f"{wrong} in {dataset} differ from SHA256SUMS"


@dataclass(slots=True)
class Outcome:
    """Expected outcome of a run: its sums, and the files in its folder."""

    sums: str
    files: set[str]

    @classmethod
    def of(cls, out: Path) -> "Outcome":
        return cls((out / "dataset" / "SHA256SUMS").read_text(), set(entries(out)))


@dataclass(slots=True)
class Remains:
    """Finished work of a killed run: its valid records and their files, which must not be written again.

    Attributes:
        files: maps each valid record's path to the inode and modification time of the record and its outputs.
        records: maps each valid record's path to its bytes.
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
        """Whether the dataset is the one that a record names; also True for records that name none."""
        digest = record.get("facts", {}).get("sums")
        sums = self.out / "dataset" / "SHA256SUMS"
        return digest is None or (sums.is_file() and sha256(sums) == digest)

    def check_kept(self, after: "Remains", *, unchanged: bool) -> int:
        """Checks that valid work was not repeated; returns the number of records kept.

        Args:
            after: the remains of the finished run.
            unchanged: whether nothing but kills happened, so that all of the work is still valid.
        """
        same = {path for path, data in self.records.items() if after.records.get(path) == data}
        if unchanged:
            changed = {path for path in self.records.keys() - same if not path.startswith("work/soft_labels/images-")}
            assert not changed, f"records that changed: {changed}"
        repeated = [path for path in same if after.files[path] != self.files[path]]
        assert not repeated, f"repeated work: {repeated}"
        return len(same)


def check_finished(out: Path, expected: Outcome) -> None:
    """Checks that a run folder is the same as after an undisturbed run, with nothing left over."""
    assert (out / "dataset" / "SHA256SUMS").read_text() == expected.sums
    check_sums(out / "dataset")
    assert set(entries(out)) == expected.files, f"left over or missing: {set(entries(out)) ^ expected.files}"
    assert not [path for path in out.rglob("*") if path.is_dir() and not any(path.iterdir())], "an empty folder"


def processes_below(folder: Path) -> list[str]:
    """Returns the command lines of processes that contain the path of a folder."""
    commands: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in command and int(process.name) != os.getpid():
            commands.append(command)
    return commands
