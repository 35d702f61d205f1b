"""An ImageFolder: one folder per class, images anywhere below it."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from rded_core.errors import InputError
from rded_core.io.sources.base import PassedOver, Source, SourceItem, name_classes
from rded_core.io.sources.names import (
    ARCHIVE_SUFFIXES,
    ARCHIVES,
    ARRAY_SUFFIXES,
    DATA_NAMES,
    IMAGE_SUFFIXES,
    OTHER_NAMES,
    OTHER_SUFFIXES,
    PACKED_NAMES,
    is_image_name,
    words_in,
)
from rded_core.io.sources.sizes.folders import require_one_size
from rded_core.io.sources.splits.folders import split_folder, words_of_folders
from rded_core.io.sources.splits.words import split_words
from rded_core.io.storage.files import shown_name
from rded_core.io.storage.tree import BROKEN_LINK, FileTree, ListedFile
from rded_core.io.storage.urls import join_path

ARRAYS = "arrays, which are not read"
BROKEN = "broken links"
UNLABELLED = "images without classes, in folders beside the splits"


def open_image_folder(root: str, tree: FileTree, *, spec: str, split: str) -> Source:
    """Opens a folder whose subfolders are the classes, or whose splits (``train``, ``val``, ...) hold them.

    Classes are ordered as Python sorts their names (``1, 10, 2``), which is torchvision's order.

    Raises:
        InputError: there are no class folders, or the requested split is missing.
    """
    prefix, unlabelled = _split_prefix(tree, spec=spec, split=split)
    by_class, others = _list_files(root, tree, prefix)
    others += [*_hidden_in(tree, prefix), *_images_below(tree, unlabelled)]
    passed_over = _count(others, by_class, spec=spec)
    if not by_class:
        found = "".join(f"; found {entry.num_files} {entry.reason}" for entry in passed_over if entry.folder)
        if any(is_image_name(name) for name, _, _ in tree.folders.get(prefix.rstrip("/"), [])):
            found += "; images lie in it directly, so give the folder above it if it is a class"
        raise InputError(
            f"no images in class folders below {spec}{found}; expected {spec}/CLASS/image.jpg "
            f"(endings: {' '.join(sorted(IMAGE_SUFFIXES))})"
        )
    folders = sorted(by_class)
    return Source(
        spec=spec,
        classes=name_classes(folders),
        items=tuple(tuple(sorted(by_class[folder])) for folder in folders),
        empty_folders=tuple(sorted({*tree.empty_folders(prefix), *_hollow_folders(tree, prefix)})),
        passed_over=passed_over,
    )


def _list_files(root: str, tree: FileTree, prefix: str) -> tuple[dict[str, list[SourceItem]], list["_Other"]]:
    """Returns the images below `prefix` by class, and all other files; a class of broken links alone is none."""
    by_class: defaultdict[str, list[SourceItem]] = defaultdict(list)
    others: list[_Other] = []
    sound: set[str] = set()
    for folder, files in tree.folders.items():
        place = f"{folder}/" if folder else ""
        if not place.startswith(prefix):
            continue
        inner = place.removeprefix(prefix)
        images = [file for file in files if inner and is_image_name(file[0])]
        if len(images) < len(files):
            others += _others_in(inner, files, {name for name, _, _ in images})
        if images:
            label, parent = inner.split("/", 1)[0], join_path(root, place)
            by_class[label] += (
                SourceItem(inner + name, parent + name, 0, max(size, 0), stamp=stamp) for name, size, stamp in images
            )
            sound |= {label} if any(size != BROKEN_LINK for _, size, _ in images) else set()
    for label in sorted(set(by_class) - sound):
        others += (_Other(f"{label}/", item.key.partition("/")[2], BROKEN, False) for item in by_class.pop(label))
    return by_class, others


def _hollow_folders(tree: FileTree, prefix: str) -> set[str]:
    """Returns the folders below `prefix` that hold hidden names (but for macOS's ``._``) and no file at any depth."""
    hidden = {folder for folder, names in tree.hidden.items() if not all(name.startswith("._") for name in names)}
    filled = {folder for folder, files in tree.folders.items() if files}
    tops = [
        {folder.removeprefix(prefix).split("/", 1)[0] for folder in folders if folder.startswith(prefix)}
        for folders in (hidden, filled)
    ]
    return tops[0] - tops[1] - {""}


class _Other(NamedTuple):
    """A file that is not read: its place, the reason, and whether an image may be lost with it."""

    inner: str
    name: str
    reason: str
    is_loss: bool
    num_bytes: int = 0

    @property
    def is_archive(self) -> bool:
        return self.reason == ARCHIVES


def _others_in(inner: str, files: list[ListedFile], images: set[str]) -> Iterator[_Other]:
    """Yields the files of a folder that are not among its `images`."""
    known = images | {name.rpartition(".")[0] for name in images}
    for name, num_bytes, _ in files:
        if name not in images:
            reason, is_loss = ("images outside class folders", False)
            if not is_image_name(name):
                reason, is_loss = _why_not(name, num_bytes, known)
            yield _Other(inner, name, reason, is_loss, num_bytes)


def _why_not(name: str, num_bytes: int, known: set[str]) -> tuple[str, bool]:
    """Returns why a file is not read as an image, and whether it may be one; `known` are the images beside it."""
    stem, dot, ending = name.rpartition(".")
    suffix = f".{ending.lower()}" if dot and stem else ""
    if suffix in ARCHIVE_SUFFIXES:
        return ARCHIVES, True
    if suffix in OTHER_SUFFIXES or (not suffix and name.lower() in OTHER_NAMES):
        return "files that hold no image by their names", False
    if suffix in ARRAY_SUFFIXES or num_bytes == BROKEN_LINK:
        return ARRAYS if suffix in ARRAY_SUFFIXES else BROKEN, False
    if num_bytes == 0 or (stem if suffix else name) in known:
        return "empty files" if num_bytes == 0 else "files named like the image beside them", False
    return (f"files that end in {suffix}, which is not read" if suffix else "files without an ending"), True


def _hidden_in(tree: FileTree, prefix: str) -> Iterator[_Other]:
    """Yields hidden files and the folders of systems and tools; images among them may be lost."""
    for folder, names in tree.hidden.items():
        place = f"{folder}/" if folder else ""
        if place.startswith(prefix):
            for name in names:
                is_loss = is_image_name(name) and not name.startswith("._")  # macOS keeps attributes in such files
                yield _Other(
                    place.removeprefix(prefix),
                    name,
                    "names that are hidden, of the system, or links to a folder above",
                    is_loss,
                )


def _images_below(tree: FileTree, tops: Collection[str]) -> Iterator[_Other]:
    """Yields the images of folders that hold no classes, beside the splits."""
    for folder, files in tree.folders.items():
        if folder.partition("/")[0] in tops:
            for name, num_bytes, _ in filter(lambda file: is_image_name(file[0]), files):
                yield _Other(f"{folder}/", name, UNLABELLED, False, num_bytes)


def _count(others: list[_Other], by_class: Mapping[str, list[SourceItem]], *, spec: str) -> tuple[PassedOver, ...]:
    """Returns how many files are left out by reason and class; archives count as images of the class's mean size."""
    counts: defaultdict[tuple[str, str], int] = defaultdict(int)
    first: dict[tuple[str, str], str] = {}
    for other in others:
        top = other.inner.split("/", 1)[0]
        folder = top if other.is_loss or _may_be_all_of_a_class(other, by_class) else ""
        if other.reason == BROKEN and not other.inner and other.name.lower() not in DATA_NAMES:
            folder = other.name  # a link to a class folder
        if other.is_archive and not other.inner and _is_class_of_its_own(other.name, by_class, spec):
            folder = other.name.split(".", 1)[0]
        counts[other.reason, folder] += _worth(other.num_bytes, by_class.get(folder, [])) if other.is_archive else 1
        first.setdefault((other.reason, folder), shown_name(other.inner + other.name))
    return tuple(PassedOver(reason, folder, counts[reason, folder], first[reason, folder]) for reason, folder in counts)


def _may_be_all_of_a_class(other: _Other, by_class: Collection[str]) -> bool:
    """Whether a file that is data beside images lies in a folder that holds no images, and is not called after data."""
    top = other.inner.split("/", 1)[0]
    return other.reason in (ARRAYS, BROKEN) and top not in by_class and DATA_NAMES.isdisjoint(words_in(top))


def _worth(num_bytes: int, images: list[SourceItem]) -> int:
    """Returns how many images of the mean size of `images` an archive may hold."""
    total = sum(item.num_bytes for item in images)
    return max(round(num_bytes * len(images) / total), 1) if total else 1


def _is_class_of_its_own(archive: str, by_class: Mapping[str, list[SourceItem]], spec: str) -> bool:
    """Whether an archive beside the class folders may be a class: it is not what one of them was unpacked from."""
    stem = archive.split(".", 1)[0]
    unpacked = {*map(str.lower, by_class), *spec.lower().split("/"), *PACKED_NAMES}
    return stem.lower() not in unpacked and not split_words(stem)


def _split_prefix(tree: FileTree, *, spec: str, split: str) -> tuple[str, list[str]]:
    """Returns the folder of the requested split with a slash, and the folders beside the splits that hold no classes.

    If the classes lie at the top, it is "".
    """
    tops = _folders_below(tree, "")
    require_one_size(tops, spec=spec)
    chosen = split_folder(tops, spec=spec, split=split)
    if not chosen:
        return "", []
    named = words_of_folders(tops)
    unlabelled = [top for top in tops if top not in named]
    inner = _folders_below(tree, f"{chosen}/")
    repeated = list(inner) == [chosen] and any(inner[chosen])  # as archives unpack: seg_train/seg_train/CLASS
    prefix = f"{chosen}/{chosen}/" if repeated else f"{chosen}/"
    require_one_size(_folders_below(tree, prefix), spec=f"{spec}/{prefix.rstrip('/')}")
    return prefix, unlabelled


def _folders_below(tree: FileTree, prefix: str) -> dict[str, set[str]]:
    """Returns the folders below `prefix` with images, each with those of its subfolders, and "" for images in it.

    Images in a subfolder of the folder's own name, as archives unpack, are in it, unless there are other subfolders.
    """
    paths: defaultdict[str, set[str]] = defaultdict(set)
    for folder, files in tree.folders.items():
        top, _, inner = folder.removeprefix(prefix).partition("/")
        if folder.startswith(prefix) and top and any(is_image_name(name) for name, _, _ in files):
            paths[top].add(inner)
    return {top: {""} if inner == {top} else {path.partition("/")[0] for path in inner} for top, inner in paths.items()}
