"""One writer at a time in a run folder."""

import contextlib
import fcntl
import os
import time
from collections.abc import Generator
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any

from rded_core.errors import InputError
from rded_core.io.layout.run import RunFolder
from rded_core.io.storage.files import REMEDY, require_writable
from rded_core.io.storage.host import who_am_i

POLL_S = 1.0

_HELD: ContextVar[frozenset[Path]] = ContextVar("held", default=frozenset())
"""Locks that this context holds. Other threads of the process have a context of their own, and wait like all others."""


@contextlib.contextmanager
def only_writer(run: RunFolder, *, wait: bool = False) -> Generator[None]:
    """Holds the run folder (for a control, its owner's) while a block writes to it.

    The operating system lets go of the lock when its holder ends, however it ends; what the file says is only for
    people. It is there while somebody writes, and after a crash. Who holds it already goes on: a repair runs a flow.

    Args:
        run: the run folder.
        wait: wait for another writer, instead of stopping.

    Raises:
        InputError: another process writes there; it is named.
    """
    path = (run.owner or run).lock
    if holds(path):
        yield
        return
    require_writable(path.parent)
    stream = _acquire(path, wait=wait)
    held = _HELD.set(_HELD.get() | {path.resolve()})
    try:
        with contextlib.suppress(OSError):  # on a full disk; the first file that matters says so
            os.ftruncate(stream.fileno(), 0)
            os.write(stream.fileno(), f"{who_am_i()}\n".encode())
        yield
    finally:
        _HELD.reset(held)
        with contextlib.suppress(OSError):  # the folder may be gone with all that was in it
            path.unlink()
        stream.close()


def holds(lock: Path) -> bool:
    """Tells whether the lock at a path is this context's own."""
    return lock.resolve() in _HELD.get()


def find_writer(run: RunFolder) -> str:
    """Says who else writes to a run folder (for a control: its owner's) now; nothing where nobody does.

    The lock is not taken: a file that is not there stays so, and one that a crash left is held for an instant, and
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
    except OSError:  # there is none, or one that cannot be asked
        pass
    return ""


def _acquire(path: Path, *, wait: bool) -> IO[str]:
    """Opens and locks the file at `path`, which its last holder may just be removing."""
    while True:
        stream = _open(path)
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = " ".join(stream.read().split()) or "another process"
            stream.close()
            if not wait:
                raise InputError(
                    f"--out {path.parent} is being written by {holder}; wait until it is done, or choose another --out"
                ) from None
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
    """Tells whether the open file is the one at `path`, and not one that was removed since it was opened."""
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    return False
