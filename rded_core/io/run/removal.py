"""Removal of files of ours: a unit's, or a whole folder."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from rded_core.errors import InputError
from rded_core.io.layout.run import RunFolder
from rded_core.io.run.inventory import unit_of


def units_of(run: RunFolder, stages: Iterable[str]) -> list[str]:
    """Returns every unit of which a stage has a file, whole or not, sorted; a user's files there do not count."""
    units = (unit_of(stage, path.name) for stage in stages for path in run.stage(stage).glob("*"))
    return sorted({unit for unit in units if unit})


def drop_unit(run: RunFolder, stage: str, unit: str) -> bool:
    """Removes a unit's record, then its outputs; returns True if there were any.

    Raises:
        InputError: a file cannot be removed.
    """
    paths = [run.record(stage, unit), run.table(stage, unit), run.tar(stage, unit)]
    existing = [path for path in paths if path.is_file()]
    for path in existing:
        _remove(path)
    return bool(existing)


def drop_folder(path: Path) -> None:
    """Removes a folder of ours with everything in it, if it exists.

    Raises:
        InputError: something in it cannot be removed.
    """
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _cannot(path, error) from error


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _cannot(path, error) from error


def _cannot(path: Path, error: OSError) -> InputError:
    return InputError(f"cannot remove {path}: {error.strerror or error}; check its permissions, then run again")
