"""The split of a file, by its name or that of a folder above it."""

from rded_core.errors import InputError
from rded_core.io.sources.names import SPLIT_NAMES


def files_of_split(paths: list[str], split: str) -> list[str]:
    """Returns the files named after a split or in a folder named after it; failing that, those that name no split.

    Raises:
        InputError: every file belongs to a different split.
    """
    by_name = {path: _split_of(path) for path in paths}
    for name in SPLIT_NAMES[split]:
        if chosen := [path for path, of_path in by_name.items() if of_path == name]:
            return chosen
    unnamed = [path for path, of_path in by_name.items() if of_path is None]
    if not unnamed:
        raise InputError(f"no file of the split {split!r} among {', '.join(paths[:5])}; name files or folders after it")
    return unnamed


def _split_of(path: str) -> str | None:
    """Returns the split that a file's name begins with, or else that of the nearest folder named after one."""
    names = {name for names in SPLIT_NAMES.values() for name in names}
    *folders, base = path.lower().split("/")
    stem = base.split(".")[0].split("-")[0].split("_")[0]
    return next((part for part in (stem, *reversed(folders)) if part in names), None)
