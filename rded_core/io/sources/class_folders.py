"""The classes of a local ImageFolder by a look at its folders, without torch; in doubt, none are told."""

import os
from collections.abc import Collection
from itertools import islice
from pathlib import Path

from rded_core.errors import InputError
from rded_core.io.sources.names import IMAGE_SUFFIXES, SPLIT_NAMES
from rded_core.io.sources.wordnet import imagenet_names, wnid_of

SPLITS = {name for names in SPLIT_NAMES.values() for name in names}
MAX_SHOWN = 20
LOOKED_AT = 10
"""Entries of a folder of which one is to be an image."""


def require_classes(spec: str, names: Collection[str], flag: str) -> None:
    """Raises InputError where a name is no class of the ImageFolder at `spec`.

    The source's own reader decides in every case that is not plain: tars, tables, images in deeper folders.
    """
    known = _class_folders(Path(spec)) if names else []
    unknown = [name for name in names if name not in known]
    if unknown and any(map(wnid_of, known)):
        readable = set(imagenet_names().values())
        unknown = [name for name in unknown if name not in readable]
    if known and unknown:
        shown = ", ".join(known[:MAX_SHOWN]) + (" ..." if len(known) > MAX_SHOWN else "")
        raise InputError(f"{flag}: {unknown[0]!r} is no class of {spec}; classes are: {shown}")


def _class_folders(root: Path) -> list[str]:
    """Lists the folders of a source (of its split for training) that all hold images; nothing for any other source."""
    try:
        names = _names_in(root)
        if names and SPLITS.issuperset(names):
            root /= next((name for name in SPLIT_NAMES["train"] if name in names), "")
            names = _names_in(root)
        return names if all(_begins_with_images(root / name) for name in names) else []
    except OSError:
        return []


def _names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def _begins_with_images(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(Path(entry.name).suffix.lower() in IMAGE_SUFFIXES for entry in islice(entries, LOOKED_AT))
