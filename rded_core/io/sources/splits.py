"""Which split a file or folder belongs to, by its name."""

from rded_core.errors import InputError
from rded_core.io.sources.names import SPLIT_NAMES


def files_of_split(paths: list[str], split: str) -> list[str]:
    """Keeps the files of one split: named after it, or in a folder that is; all of them where no name tells.

    Raises:
        InputError: the files name splits, but not this one.
    """
    by_name = {path: _split_of(path) for path in paths}
    for name in SPLIT_NAMES[split]:
        if chosen := [path for path, found in by_name.items() if found == name]:
            return chosen
    unnamed = [path for path, found in by_name.items() if found is None]
    if not unnamed:
        raise InputError(f"no file of the split {split!r} among {', '.join(paths[:5])}")
    return unnamed


def _split_of(path: str) -> str | None:
    """Returns the split that a file's name begins with, or that a folder above it bears."""
    names = {name for names in SPLIT_NAMES.values() for name in names}
    *folders, base = path.lower().split("/")
    stem = base.split(".")[0].split("-")[0].split("_")[0]
    return next((part for part in (stem, *reversed(folders)) if part in names), None)
