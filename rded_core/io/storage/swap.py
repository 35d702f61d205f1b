"""Folders replaced in one step, and restored if the step was interrupted."""

import contextlib
import ctypes
import os
import shutil
from pathlib import Path


def swap_folder(new: Path, place: Path) -> None:
    """Moves the folder `new` to `place`; the old folder stays readable until then, and is removed afterwards.

    Linux exchanges the two atomically. Elsewhere, and on file systems that cannot, there is nothing at `place` for
    a moment; `restore_swapped` puts the old folder back after a crash in that moment.
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
    """Puts back the folder that an interrupted `swap_folder` had set aside."""
    if not place.exists() and _set_aside(new).exists():
        _set_aside(new).rename(place)


def end_swap(new: Path, place: Path) -> None:
    """Finishes an interrupted swap: one folder stays at `place`, the others are removed."""
    restore_swapped(new, place)
    for leftover in (new, _set_aside(new)):
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(leftover)


def _set_aside(new: Path) -> Path:
    return new.with_name(f"{new.name}.old")


RENAME_EXCHANGE = 2
AT_FDCWD = -100


def _exchange(first: Path, second: Path) -> bool:
    """Exchanges two folders atomically (Linux's renameat2); returns False if that is not possible."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    return rename(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE) == 0
