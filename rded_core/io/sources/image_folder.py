"""An ImageFolder: one folder per class, images anywhere below it."""

from collections import defaultdict

from rded_core.errors import InputError
from rded_core.io.sources.base import Source, SourceItem, name_classes
from rded_core.io.sources.names import IMAGE_SUFFIXES, SPLIT_NAMES
from rded_core.io.storage.tree import FileTree
from rded_core.io.storage.urls import join_path


def open_image_folder(root: str, tree: FileTree, *, spec: str, split: str) -> Source:
    """Opens a folder whose subfolders are the classes, or whose splits (``train``, ``val``, ...) hold them.

    Classes are ordered as Python sorts their names (``1, 10, 2``), which is torchvision's order.

    Raises:
        InputError: there are no class folders, or the requested split is missing.
    """
    prefix = _split_prefix(tree, spec=spec, split=split)
    by_class: defaultdict[str, list[SourceItem]] = defaultdict(list)
    ignored = 0
    for folder, files in tree.folders.items():
        place = f"{folder}/" if folder else ""
        if not place.startswith(prefix):
            continue
        inner = place.removeprefix(prefix)
        images = [file for file in files if inner and is_image_name(file[0])]
        ignored += len(files) - len(images)
        if images:
            parent = join_path(root, place)
            by_class[inner.split("/", 1)[0]] += (
                SourceItem(inner + name, parent + name, 0, size, stamp=stamp) for name, size, stamp in images
            )
    if not by_class:
        raise InputError(
            f"no images in class folders below {spec}; expected {spec}/CLASS/image.jpg "
            f"(endings: {' '.join(sorted(IMAGE_SUFFIXES))})"
        )
    folders = sorted(by_class)
    return Source(
        spec=spec,
        classes=name_classes(folders),
        items=tuple(tuple(sorted(by_class[folder])) for folder in folders),
        num_ignored_files=ignored,
        empty_folders=tree.empty_folders(prefix),
    )


def _split_prefix(tree: FileTree, *, spec: str, split: str) -> str:
    """Returns the folder of the requested split with a slash, or "" if the classes lie at the top."""
    tops = {
        folder.split("/", 1)[0]
        for folder, files in tree.folders.items()
        if folder and any(is_image_name(name) for name, _, _ in files)
    }
    all_splits = {name for names in SPLIT_NAMES.values() for name in names}
    if not {top.lower() for top in tops} & all_splits:
        return ""
    if others := sorted(top for top in tops if top.lower() not in all_splits):
        raise InputError(
            f"{spec} holds splits and other folders ({', '.join(others[:5])}), so its classes are unclear; "
            f"give the folder whose subfolders are the classes, e.g. {spec}/{min(tops - set(others))}"
        )
    for name in SPLIT_NAMES[split]:
        for top in sorted(tops):
            if top.lower() == name:
                return f"{top}/"
    raise InputError(
        f"{spec} holds the splits {', '.join(sorted(tops))} but no {SPLIT_NAMES[split][0]!r}; give the folder itself, "
        f"e.g. {spec}/{min(tops)}"
    )


def is_image_name(name: str) -> bool:
    """Whether a file name ends like that of an image."""
    _, dot, ending = name.rpartition(".")
    return bool(dot) and f".{ending.lower()}" in IMAGE_SUFFIXES
