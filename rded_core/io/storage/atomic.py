"""Files written atomically: temporary name, flush, rename."""

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rded_core.errors import InputError
from rded_core.io.storage.files import REMEDY, reason_of
from rded_core.io.storage.host import HOST, is_running

ABANDONED_S = 3600.0
"""Age in seconds at which another machine's temporary file counts as abandoned."""

_WRITER = r"\.(?:([A-Za-z0-9]+)-)?(\d+)\.tmp"
"""End of a temporary name: the machine (missing in older versions) and the process ID."""


def temporary_name(path: Path) -> Path:
    """Returns the name to write `path` under until it is whole: hidden, next to it, with machine and process ID."""
    return path.with_name(f".{path.name}.{HOST}-{os.getpid()}.tmp")


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Calls `write` with a temporary name next to `path`, flushes that file to disk, then renames it to `path`.

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


def is_temporary(path: Path) -> bool:
    """Returns True if a file's name is a temporary name of `write_atomically`."""
    return re.fullmatch(r"\..+" + _WRITER, path.name) is not None


def remove_abandoned(folder: Path, name: str = ".+") -> None:
    """Removes the half-written files of ended processes from a folder; `name` is a pattern for their final names.

    A run's lock says nothing about a cluster's workers on other machines, which may still write for a run that ended
    without them: another machine's file is removed only if it has not been written to for an hour.
    """
    # Every write scans its folder, which may hold thousands of files: paths are built for temporary names only.
    for file_name in [each for each in os.listdir(folder) if each.endswith(".tmp")]:  # noqa: PTH208
        entry, match = folder / file_name, re.fullmatch(rf"\.{name}{_WRITER}", file_name)
        if match and not is_written_elsewhere(entry) and not (_is_here(match) and is_running(int(match[2]))):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink(missing_ok=True)


def remove_temporaries(folder: Path) -> None:
    """Removes all temporary files from a folder, regardless of machine, process and age."""
    for entry in folder.iterdir():
        if is_temporary(entry) and entry.is_file():
            entry.unlink(missing_ok=True)


def is_written_elsewhere(path: Path) -> bool:
    """Returns True if a file is a temporary one that a process on another machine may still be writing."""
    match = re.fullmatch(r"\..+" + _WRITER, path.name)
    if match is None or _is_here(match):
        return False
    with contextlib.suppress(FileNotFoundError):
        return time.time() - path.stat().st_mtime < ABANDONED_S
    return False


def _is_here(match: "re.Match[str]") -> bool:
    return match[1] in (None, HOST)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Writes indented JSON in the order given."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
