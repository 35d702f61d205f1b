"""What every source is once opened: classes in a stated order, items by class, and a way to read an item."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from rded_core.errors import InputError
from rded_core.io.sources.wordnet import imagenet_names, wnid_of


class SourceItem(NamedTuple):
    """One image of a source; a tuple, since ImageNet has 1.28 million. Items sort by key.

    Attributes:
        key: identity inside the source: relative path, tar member name, or ``file#row``. Seeds depend on it.
        path: local path or URL of the file that holds the bytes.
        offset: where they begin in that file; the row for tables.
        num_bytes: how many there are (for tables those of the whole table, for downloaded sets -1).
        in_tar: `path` is a tar, and `offset` counts in it.
        stamp: another number when the file has been written since; no part of what the image is.
    """

    key: str
    path: str
    offset: int = 0
    num_bytes: int = -1
    in_tar: bool = False
    stamp: int = 0

    @property
    def uri(self) -> str:
        """Names the image inside its source, without the place of the source itself."""
        return f"{self.path.rsplit('/', 1)[-1]}/{self.key}" if self.in_tar else self.key


@dataclass(frozen=True, slots=True)
class SourceClass:
    """One class: its place in the head, its name for people, WordNet id where known, and folder or label."""

    index: int
    name: str
    wnid: str | None
    folder: str


@dataclass(frozen=True, slots=True)
class Source:
    """An opened source.

    Attributes:
        spec: as the user wrote it.
        classes: in index order.
        items: for each class its items, sorted by key.
        is_webdataset: the items lie in tars already, so that no candidate shards need to be written.
        num_ignored_files: files passed over because they are no images by name.
        empty_folders: folders where a class would be, without a file in them.
    """

    spec: str
    classes: tuple[SourceClass, ...]
    items: tuple[tuple[SourceItem, ...], ...]
    is_webdataset: bool = False
    num_ignored_files: int = 0
    empty_folders: tuple[str, ...] = ()

    @property
    def num_items(self) -> int:
        """Counts the images of all classes."""
        return sum(len(items) for items in self.items)

    def class_digest(self, index: int) -> str:
        """Returns the SHA-256 of where the images of one class lie and when they were written."""
        lines = "".join("\t".join(map(str, item)) + "\n" for item in self.items[index])
        return hashlib.sha256(lines.encode()).hexdigest()

    def digest(self, *, with_stamps: bool = False) -> str:
        """Returns the SHA-256 of the class order and every item's name, place and length: what was there.

        With stamps it is another digest too where a file was written anew under its name, whatever its length.
        """
        state = hashlib.sha256()
        for label, items in zip(self.classes, self.items, strict=True):
            stamps = (f"\t{item.stamp}" if with_stamps else "" for item in items)
            places = (f"{item.uri}\t{item.offset}\t{item.num_bytes}" for item in items)
            lines = "".join(f"{place}{stamp}\n" for place, stamp in zip(places, stamps, strict=True))
            state.update(f"{label.folder}\n{lines}".encode())
        return state.hexdigest()


def name_classes(folders: Sequence[str]) -> tuple[SourceClass, ...]:
    """Numbers classes in the order given; WordNet ids of ImageNet-1K get their readable name."""
    names = imagenet_names() if any(wnid_of(folder) for folder in folders) else {}
    return tuple(
        SourceClass(index=index, name=names.get(folder, folder), wnid=wnid_of(folder), folder=folder)
        for index, folder in enumerate(folders)
    )


def keep_classes(source: Source, wanted: Sequence[str]) -> Source:
    """Returns the source with only the classes named (by name, WordNet id or folder), in source order, renumbered.

    Raises:
        InputError: a name is unknown or fits several classes.
    """
    kept = {find_class(source, name, flag="--classes") for name in wanted}
    order = sorted(kept)
    classes = tuple(replace(source.classes[old], index=new) for new, old in enumerate(order))
    return replace(source, classes=classes, items=tuple(source.items[old] for old in order))


def find_class(source: Source, name: str, *, flag: str = "--only-classes") -> int:
    """Returns the index of the class that a user means by its name, WordNet id or folder.

    Raises:
        InputError: none fits, or several do.
    """
    found = [label.index for label in source.classes if name in (label.folder, label.name, label.wnid)]
    if len(found) == 1:
        return found[0]
    known = ", ".join(label.folder for label in source.classes[:20])
    more = " ..." if len(source.classes) > 20 else ""
    problem = "fits several classes" if found else "is no class"
    raise InputError(f"{flag}: {name!r} {problem} of {source.spec}; classes are: {known}{more}")
