"""One writer at a time in a run folder."""

import contextlib
import fcntl
import os
import time
from collections.abc import Generator
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any

from rded_core.errors import InputError, OutInUse
from rded_core.io.layout.run import RunFolder
from rded_core.io.storage.files import REMEDY, require_writable
from rded_core.io.storage.host import who_am_i

POLL_S = 1.0

_HELD: ContextVar[frozenset[Path]] = ContextVar("held", default=frozenset())
"""Locks that this context holds. Other threads have a context of their own, and wait like other processes."""


@contextlib.contextmanager
def only_writer(run: RunFolder, *, wait: bool = False) -> Generator[None]:
    """Holds the lock of the run folder (for a control, its owner's) while a block writes to it.

    The operating system releases the lock when its holder ends, for any reason; the file's text is only for people.
    The file exists while a process writes, and after a crash. A context that holds the lock continues: a repair runs a
    flow. Folders that are made for the lock are removed if the block leaves nothing else in them.

    Args:
        run: the run folder.
        wait: wait for another writer, instead of raising.

    Raises:
        OutInUse: another process is writing there; the message names it.
        InputError: the folder cannot be written or locked.
    """
    path = (run.owner or run).lock
    if holds(path):
        yield
        return
    require_writable(path.parent)
    made = [folder for folder in path.parents if not folder.exists()]
    stream = _acquire(path, wait=wait)
    token = _HELD.set(_HELD.get() | {path.resolve()})
    try:
        with contextlib.suppress(OSError):  # on a full disk, which the first file that matters reports
            os.ftruncate(stream.fileno(), 0)
            os.write(stream.fileno(), f"{who_am_i()}\n".encode())
        yield
    finally:
        _HELD.reset(token)
        with contextlib.suppress(OSError):  # the folder may have been removed
            path.unlink()
            for folder in made:  # a run that was refused leaves nothing behind
                folder.rmdir()
        stream.close()


def holds(lock: Path) -> bool:
    """Returns True if this context holds the lock at a path."""
    return lock.resolve() in _HELD.get()


def find_writer(run: RunFolder) -> str:
    """Returns who else is writing to a run folder (for a control: its owner's) now; empty if no one is.

    The lock is not taken: a missing file stays missing, and one left by a crash is locked for an instant, and
    shared.
    """
    path = (run.owner or run).lock
    if holds(path):
        return ""
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return " ".join(stream.read().split()) or "another process"
    except OSError:  # no lock file, or one that cannot be locked
        pass
    return ""


def require_no_writer(run: RunFolder) -> None:
    """Raises OutInUse if another process is writing to a run folder now, without taking the lock."""
    if writer := find_writer(run):
        raise _in_use((run.owner or run).lock, writer)


def _in_use(lock: Path, holder: str) -> OutInUse:
    return OutInUse(f"--out {lock.parent} is being written by {holder}; wait until it is done, or choose another --out")


def _acquire(path: Path, *, wait: bool) -> IO[str]:
    """Opens and locks the file at `path`, which its last holder may be removing."""
    while True:
        stream = _open(path)
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = " ".join(stream.read().split()) or "another process"
            stream.close()
            if not wait:
                raise _in_use(path, holder) from None
            time.sleep(POLL_S)
            continue
        except OSError as error:
            stream.close()
            raise InputError(f"cannot lock {path}: {error.strerror}; choose an --out on another file system") from error
        if _is_at(path, stream):
            return stream
        stream.close()


def _open(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+", encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; {REMEDY}") from error


def _is_at(path: Path, stream: IO[Any]) -> bool:
    """Returns True if the open file is the one at `path`, and not one that was removed since it was opened."""
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    return False
