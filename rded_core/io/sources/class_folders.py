"""Checks class names against the folders of a local ImageFolder, without torch; unclear layouts are not checked."""

import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from rded_core.errors import InputError
from rded_core.io.sources.names import IMAGE_SUFFIXES
from rded_core.io.sources.splits.folders import split_folder
from rded_core.io.sources.wordnet import imagenet_names, wnid_of
from rded_core.io.storage.files import quoted_name, shown_name
from rded_core.text.comma_names import join_names

MAX_SHOWN = 20
MAX_CHECKED = 10
"""Entries of a folder, at least one of which must be an image."""


def require_classes(spec: str, names: Sequence[str], flag: str) -> None:
    """Raises InputError if a name is not a class of the ImageFolder at `spec`.

    All other cases are left to the source's own reader: tars, tables, images in deeper folders.
    """
    folders = _class_folders(Path(spec)) if names else []
    readable = set(imagenet_names().values()) if any(map(wnid_of, folders)) else set[str]()
    known = {*folders, *readable}
    unknown = [name for name in join_names(names, known) if name not in known]
    if folders and unknown:
        listing = ", ".join(map(shown_name, folders[:MAX_SHOWN])) + (" ..." if len(folders) > MAX_SHOWN else "")
        raise InputError(f"{flag}: {quoted_name(unknown[0])} is not a class of {spec}; classes are: {listing}")


def _class_folders(root: Path) -> list[str]:
    """Returns the class folders of a source (or of its training split), or nothing unless all of them hold images."""
    try:
        names = _names_in(root)
        tops = {name: {""} if _begins_with_images(root / name) else {"CLASS"} for name in names}
        if split := split_folder(tops, spec=str(root), split="train"):
            root /= split
            names = _names_in(root)
        return names if all(_begins_with_images(root / name) for name in names) else []
    except (OSError, InputError):  # the source's own reader explains it
        return []


def _names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def _begins_with_images(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(Path(entry.name).suffix.lower() in IMAGE_SUFFIXES for entry in islice(entries, MAX_CHECKED))
