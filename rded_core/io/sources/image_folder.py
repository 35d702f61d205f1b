"""An ImageFolder: one folder per class, images anywhere below it."""

from collections import defaultdict

from rded_core.errors import InputError
from rded_core.io.sources.base import Source, SourceItem, name_classes
from rded_core.io.sources.names import IMAGE_SUFFIXES, is_image_name
from rded_core.io.sources.splits import split_folder
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
    chosen = split_folder(_folders_below(tree, ""), spec=spec, split=split)
    if not chosen:
        return ""
    inner = _folders_below(tree, f"{chosen}/")
    repeated = list(inner) == [chosen] and any(inner[chosen])  # as archives unpack: seg_train/seg_train/CLASS
    return f"{chosen}/{chosen}/" if repeated else f"{chosen}/"


def _folders_below(tree: FileTree, prefix: str) -> dict[str, set[str]]:
    """Returns the folders below `prefix` with images, each with those of its subfolders, and "" for images in it."""
    tops: defaultdict[str, set[str]] = defaultdict(set)
    for folder, files in tree.folders.items():
        top, _, inner = folder.removeprefix(prefix).partition("/")
        if folder.startswith(prefix) and top and any(is_image_name(name) for name, _, _ in files):
            tops[top].add(inner.partition("/")[0])
    return tops
