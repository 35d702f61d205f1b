"""Folders replaced in one step, and restored if the step was interrupted."""

import contextlib
import ctypes
import os
import shutil
from pathlib import Path


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
