"""Processes that outlive the command that started them: found again by id and start time, and stopped for certain."""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

MARK = "RDED_STACK"
"""Environment variable that all processes of a stack have, those that they start included."""

POLL_S = 0.1
KILL_S = 10.0

SAME_START_S = 2.0
"""Start times of one process differ by less, as the system's clock is set."""


@dataclass(frozen=True, slots=True)
class Started:
    """A process as it was started.

    Attributes:
        pid: its id, which may be another process's by now.
        since: when it began, in seconds since the epoch.
    """

    pid: int
    since: float

    def find(self) -> psutil.Process | None:
        """Returns the process; None where it has ended, whoever has its id now."""
        try:
            process = psutil.Process(self.pid)
            is_same = abs(process.create_time() - self.since) < SAME_START_S
            return process if is_same and _is_there(process) else None
        except psutil.Error:
            return None


def start(module: str, *arguments: str, log: Path, environment: Mapping[str, str]) -> Started:
    """Starts ``python -m MODULE ARGUMENTS`` in a session of its own, with all that it prints at the end of a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
        )
    return Started(process.pid, psutil.Process(process.pid).create_time())


def find_marked(mark: str) -> list[psutil.Process]:
    """Returns this user's processes that bear a stack's mark, but for this one."""
    found = (process for process in psutil.process_iter() if process.pid != os.getpid())
    return [process for process in found if _mark_of(process) == mark]


def _mark_of(process: psutil.Process) -> str | None:
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else process.environ().get(MARK)
    except (psutil.Error, OSError):  # another user's, or just ended
        return None


def stop(root: psutil.Process, *, grace_s: float) -> None:
    """Ends a process and all below it: asks the process, then those left below it, then kills what is still there."""
    below = _below(root)
    for asked in ([root], below):
        for process in asked:
            _signal(process, "terminate")
        if _are_gone([root, *below], within_s=grace_s):
            return
    kill([root, *below])


def kill(processes: Iterable[psutil.Process]) -> None:
    """Kills processes and waits until they are gone."""
    listed = list(processes)
    for process in listed:
        _signal(process, "kill")
    _are_gone(listed, within_s=KILL_S)


def _are_gone(processes: list[psutil.Process], *, within_s: float) -> bool:
    """Waits until processes have ended; tells whether they have."""
    deadline = time.monotonic() + within_s
    while any(_is_there(process) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def _is_there(process: psutil.Process) -> bool:
    """Tells whether a process runs; one that has ended and that nobody has asked about yet does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _below(root: psutil.Process) -> list[psutil.Process]:
    try:
        return root.children(recursive=True)
    except psutil.Error:
        return []


def _signal(process: psutil.Process, how: str) -> None:
    """Sends a signal; psutil sees to it that the process is still the one that was found."""
    try:
        getattr(process, how)()
    except psutil.NoSuchProcess:
        return
