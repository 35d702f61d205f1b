"""Files that are whole or not there: temporary name, flush, rename; and their digests."""

import contextlib
import ctypes
import hashlib
import os
import platform
import re
import shutil
import stat
import time
from collections.abc import Callable, Generator
from pathlib import Path

from rded_core.errors import InputError


def host_name(node: str) -> str:
    """Names a machine in letters and digits: the first of its own name, and a digest that tells it from its like."""
    readable = re.sub(r"[^A-Za-z0-9]", "", node.partition(".")[0])[:16] or "host"
    return readable + hashlib.sha256(node.encode()).hexdigest()[:8]


HOST = host_name(platform.node())
"""This machine, as temporary names say it: folders may be shared, and process numbers are each machine's own."""

ABANDONED_S = 3600.0
"""What another machine has not written to for so long, nobody there is writing any more."""

_WRITER = r"\.(?:([A-Za-z0-9]+)-)?(\d+)\.tmp"
"""How temporary names end: the machine (older versions named none) and the process."""


def temporary_name(path: Path) -> Path:
    """Names what is to become `path` once it is whole: beside it, by this machine and process."""
    return path.with_name(f".{path.name}.{HOST}-{os.getpid()}.tmp")


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Calls `write` with a temporary name beside `path`, flushes what it wrote to disk, then renames it to `path`.

    Raises:
        InputError: the folder cannot be written.
    """
    temporary = temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path.parent, re.escape(path.name))
        write(temporary)
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {reason_of(error)}; {REMEDY}") from error
    finally:
        with contextlib.suppress(OSError):  # a folder that cannot be written has nothing to remove
            temporary.unlink()


REMEDY = "check the folder and its free space, then run the same command again"


def reason_of(error: OSError) -> str:
    """Returns why a file operation failed, in the system's words (pyarrow has longer ones, which name the file too)."""
    return os.strerror(error.errno) if error.errno else str(error)


@contextlib.contextmanager
def told_plainly(path: Path) -> Generator[None]:
    """Makes an InputError of a file operation that fails inside a block; names its file, or else `path`."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot read or write {error.filename or path}: {reason_of(error)}; {REMEDY}") from error


def is_temporary(path: Path) -> bool:
    """Tells by its name whether a file is one that `write_atomically` was writing."""
    return re.fullmatch(r"\..+" + _WRITER, path.name) is not None


def remove_abandoned(folder: Path, name: str = ".+") -> None:
    """Removes what processes that are no more left half written in a folder; `name` matches what it was for.

    A run's lock says nothing of the workers of a cluster on other machines, which may still write for a run that ended
    without them: of another machine's files, those go that have not been written to for an hour.
    """
    # Every file written looks through its folder, which may hold thousands: no path is made of what is nobody's.
    for found in [each for each in os.listdir(folder) if each.endswith(".tmp")]:  # noqa: PTH208
        entry, match = folder / found, re.fullmatch(rf"\.{name}{_WRITER}", found)
        if match and not is_written_elsewhere(entry) and not (_is_here(match) and is_running(int(match[2]))):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink(missing_ok=True)


def remove_temporaries(folder: Path) -> None:
    """Removes all temporary files in a folder, whatever machine and process wrote them, and however lately."""
    for entry in folder.iterdir():
        if is_temporary(entry) and entry.is_file():
            entry.unlink(missing_ok=True)


def is_written_elsewhere(path: Path) -> bool:
    """Tells whether a file is a temporary one that a process on another machine may still be writing."""
    match = re.fullmatch(r"\..+" + _WRITER, path.name)
    if match is None or _is_here(match):
        return False
    with contextlib.suppress(FileNotFoundError):
        return time.time() - path.stat().st_mtime < ABANDONED_S
    return False


def _is_here(match: "re.Match[str]") -> bool:
    return match[1] in (None, HOST)


def is_running(pid: int) -> bool:
    """Tells whether a process of this machine is there, whoever's it is."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def file_digest(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_stamp(path: str) -> tuple[int, int]:
    """Returns a file's time of change in ns and its size, or zeros where it is not there."""
    try:
        status = Path(path).stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def kind_of(path: Path) -> str | None:
    """Returns ``folder``, ``file``, or None where there is neither; raises InputError where one may not look."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot look at {path}: {reason}; check the path and its permissions") from error
    return "folder" if stat.S_ISDIR(mode) else "file"


def require_file(path: str, what: str) -> None:
    """Raises InputError where there is no file at `path`; `what` says what it should be."""
    if kind_of(Path(path)) != "file":
        raise InputError(f"no such {what}: {path}")


def require_new(path: Path) -> None:
    """Raises InputError where `path` is there already: hours of work are not written over."""
    if kind_of(path):
        raise InputError(f"--out {path} exists already; choose another name, or delete it to begin anew")


def require_writable(folder: Path) -> None:
    """Raises InputError where `folder` neither is nor can become a folder that we may write to; creates nothing."""
    nearest = next(path for path in (folder, *folder.absolute().parents) if kind_of(path))
    if kind_of(nearest) == "file":
        raise InputError(f"cannot write to {folder}: {nearest} is a file; choose another folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(f"cannot write to {folder}: no permission in {nearest}; choose a folder you may write to")


def link_or_copy(source: Path, target: Path) -> None:
    """Puts a file at a second place: by a hard link where the file system has them, else as a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def clear_folder(path: Path) -> None:
    """Removes a folder of ours (never a user's) and makes it anew, empty; raises OSError where it cannot."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)
    path.mkdir(parents=True, exist_ok=True)


def swap_folder(new: Path, place: Path) -> None:
    """Moves the folder `new` to `place`; what was there is readable until then, and is removed after.

    Linux exchanges the two at one stroke. Elsewhere, and on file systems that cannot, there is nothing at `place` for
    a moment; `restore_swapped` puts back what a crash in that moment leaves.
    """
    old = _set_aside(new)
    shutil.rmtree(old, ignore_errors=True)
    if place.exists() and _exchange(new, place):
        shutil.rmtree(new, ignore_errors=True)
        return
    if place.exists():
        place.rename(old)
    new.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def restore_swapped(new: Path, place: Path) -> None:
    """Puts back the folder that `swap_folder` had set aside when it was killed."""
    if not place.exists() and _set_aside(new).exists():
        _set_aside(new).rename(place)


def end_swap(new: Path, place: Path) -> None:
    """Ends a swap that was cut short: one folder stays at `place`, and what else there was is removed."""
    restore_swapped(new, place)
    for left in (new, _set_aside(new)):
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(left)


def _set_aside(new: Path) -> Path:
    return new.with_name(f"{new.name}.old")


RENAME_EXCHANGE = 2
AT_FDCWD = -100


def _exchange(first: Path, second: Path) -> bool:
    """Exchanges two folders at one stroke (renameat2 of Linux); False where that is not possible."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    return rename(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE) == 0
