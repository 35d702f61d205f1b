"""Background processes that outlive the command: recognised by id and start time, and reliably stopped."""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

MARK = "RDED_STACK"
"""Environment variable that all processes of a stack carry, including those that they start."""

POLL_S = 0.1
KILL_S = 10.0

SAME_START_S = 2.0
"""Readings of one process's start time differ by less than this when the system's clock is adjusted."""


@dataclass(frozen=True, slots=True)
class Started:
    """A process at the time of its start.

    Attributes:
        pid: its id, which another process may have by now.
        since: its start time, in seconds since the epoch.
    """

    pid: int
    since: float

    def find(self) -> psutil.Process | None:
        """Returns the process; None if it has ended, even if another process has its id now."""
        try:
            process = psutil.Process(self.pid)
            is_same = abs(process.create_time() - self.since) < SAME_START_S
            return process if is_same and _is_there(process) else None
        except psutil.Error:
            return None


def start(module: str, *arguments: str, log: Path, environment: Mapping[str, str]) -> Started:
    """Starts ``python -m MODULE ARGUMENTS`` in a session of its own, with its output appended to a file."""
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
    """Returns this user's processes that carry a stack's mark, except this one."""
    others = (process for process in psutil.process_iter() if process.pid != os.getpid())
    return [process for process in others if _mark_of(process) == mark]


def _mark_of(process: psutil.Process) -> str | None:
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else process.environ().get(MARK)
    except (psutil.Error, OSError):  # another user's, or just ended
        return None


def stop(root: psutil.Process, *, grace_s: float) -> None:
    """Ends a process and its descendants: terminates the process, then the descendants, then kills the rest."""
    below = _below(root)
    for group in ([root], below):
        for process in group:
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
    """Waits until processes have ended; returns True if all have within the time."""
    deadline = time.monotonic() + within_s
    while any(_is_there(process) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def _is_there(process: psutil.Process) -> bool:
    """Whether a process runs; a zombie does not."""
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
    """Sends a signal; psutil makes sure that the process id has not been reused."""
    try:
        getattr(process, how)()
    except psutil.NoSuchProcess:
        return
