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


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Writes indented JSON in the order given."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
