"""Files that are whole or not there: temporary name, flush, rename; and their digests."""

import contextlib
import hashlib
import os
import shutil
import stat
from collections.abc import Generator
from pathlib import Path

from rded_core.errors import InputError

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
