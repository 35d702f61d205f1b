"""Local files: digests, stamps, checks before a run, and file errors as one line."""

import contextlib
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Generator
from pathlib import Path

from rded_core.errors import InputError

CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Characters that break a line, or that a terminal acts on."""

REMEDY = "check the folder and its free space, then run the same command again"


def reason_of(error: OSError) -> str:
    """Returns the system's reason for a failed file operation (pyarrow's is longer and repeats the file name)."""
    return os.strerror(error.errno) if error.errno else str(error)


@contextlib.contextmanager
def os_errors_as_input_errors(path: Path) -> Generator[None]:
    """Raises InputError for an OSError inside a block, naming the error's file, or else `path`."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot read or write {error.filename or path}: {reason_of(error)}; {REMEDY}") from error


def is_utf8(name: str) -> bool:
    """Whether a file name, as Python gives it, was stored as UTF-8: other names can be neither written nor shown."""
    if name.isascii():
        return True
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown_name(name: str) -> str:
    """Returns a name in a form that can be written anywhere, on one line.

    Control characters become ``\\n`` or ``\\x1b``, bytes that are not UTF-8 ``\\xe9``.
    """
    text = name if is_utf8(name) else os.fsencode(name).decode(errors="backslashreplace")
    return CONTROL_CHARACTERS.sub(lambda match: repr(match[0])[1:-1], text)


def quoted_name(name: str) -> str:
    """Returns `shown_name` in quotes, with a backslash as it is, not doubled."""
    return repr(shown_name(name)).replace("\\\\", "\\")


def file_digest(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_stamp(path: str) -> tuple[int, int]:
    """Returns a file's modification time in ns and its size in bytes, or zeros if it cannot be accessed."""
    try:
        status = Path(path).stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def kind_of(path: Path) -> str | None:
    """Returns ``folder``, ``file``, or None if the path does not exist; raises InputError if it cannot be accessed."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot access {path}: {reason}; check the path and its permissions") from error
    return "folder" if stat.S_ISDIR(mode) else "file"


def require_file(path: str, what: str) -> None:
    """Raises InputError unless `path` is a file; `what` names the kind of file expected."""
    kind = kind_of(Path(path))
    if kind == "folder":
        raise InputError(f"{path} is a folder, not a {what}; name the file in it")
    if kind != "file":
        raise InputError(f"no such {what}: {path}")


def require_new(path: Path) -> None:
    """Raises InputError if `path` exists: hours of work are never overwritten."""
    if kind_of(path):
        raise InputError(f"--out {path} exists already; choose another name, or delete it to start over")


def require_writable(folder: Path) -> None:
    """Raises InputError if `folder` is not, and cannot become, a folder that we may write to; creates nothing."""
    nearest = next(path for path in (folder, *folder.absolute().parents) if kind_of(path))
    if kind_of(nearest) == "file":
        raise InputError(f"cannot write to {folder}: {nearest} is a file; choose another folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(f"cannot write to {folder}: no permission in {nearest}; choose a folder you may write to")


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-links a file to a second path, or copies it if the file system has no hard links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def clear_folder(path: Path) -> None:
    """Empties a folder of ours (never a user's), or creates it; raises OSError if that fails."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)
    path.mkdir(parents=True, exist_ok=True)
