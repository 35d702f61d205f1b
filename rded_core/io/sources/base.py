"""An opened source: its classes in order, and the items of each class."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from rded_core.errors import InputError
from rded_core.io.sources.wordnet import imagenet_names, wnid_of
from rded_core.io.storage.files import is_utf8, quoted_name, shown_name
from rded_core.text.comma_names import join_names


class SourceItem(NamedTuple):
    """One image of a source. A tuple because ImageNet has 1.28 million of them; items sort by key.

    Attributes:
        key: identity within the source: relative path, tar member name, or ``file#row``. Seeds depend on it.
        path: local path or URL of the file that holds the bytes.
        offset: byte position of the image in that file; for tables its row.
        num_bytes: length in bytes (for tables that of the whole table, for downloaded sets -1).
        in_tar: whether `path` is a tar that holds the image at `offset`.
        stamp: change stamp of the file: different after every write; not part of the image's identity.
    """

    key: str
    path: str
    offset: int = 0
    num_bytes: int = -1
    in_tar: bool = False
    stamp: int = 0

    @property
    def uri(self) -> str:
        """Name of the image within its source, independent of where the source lies."""
        return f"{self.path.rsplit('/', 1)[-1]}/{self.key}" if self.in_tar else self.key


@dataclass(frozen=True, slots=True)
class SourceClass:
    """One class: its index in the head, readable name, WordNet id if known, and folder or label."""

    index: int
    name: str
    wnid: str | None
    folder: str


class PassedOver(NamedTuple):
    """Files or samples of a source that are not among its items, for one reason.

    Attributes:
        reason: in words that follow a count: ``samples without a label``.
        folder: class folder (as in `SourceClass`) that they belong to, or "" if unknown.
        num_files: how many there are.
        first: name of the first one.
    """

    reason: str
    folder: str
    num_files: int
    first: str


@dataclass(frozen=True, slots=True)
class Source:
    """An opened source.

    Attributes:
        spec: as the user wrote it.
        classes: in index order.
        items: the items of each class, sorted by key.
        is_webdataset: whether the items already lie in tars, so that no candidate shards need to be written.
        empty_folders: class folders without a file in them.
        passed_over: what was left out, by reason and class.
    """

    spec: str
    classes: tuple[SourceClass, ...]
    items: tuple[tuple[SourceItem, ...], ...]
    is_webdataset: bool = False
    empty_folders: tuple[str, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()

    @property
    def num_items(self) -> int:
        """Number of images in all classes."""
        return sum(len(items) for items in self.items)

    @property
    def num_ignored_files(self) -> int:
        """Number of files, samples or rows that were left out, for any reason."""
        return sum(entry.num_files for entry in self.passed_over)

    def class_digest(self, index: int) -> str:
        """Returns the SHA-256 of where the images of one class lie, with their change stamps."""
        lines = "".join("\t".join(map(str, item)) + "\n" for item in self.items[index])
        return hashlib.sha256(lines.encode()).hexdigest()

    def digest(self, *, with_stamps: bool = False) -> str:
        """Returns the SHA-256 of the class order and of every item's name, offset and length.

        With stamps, the digest also changes if a file is rewritten under the same name with the same length.
        """
        state = hashlib.sha256()
        for label, items in zip(self.classes, self.items, strict=True):
            stamps = (f"\t{item.stamp}" if with_stamps else "" for item in items)
            places = (f"{item.uri}\t{item.offset}\t{item.num_bytes}" for item in items)
            lines = "".join(f"{place}{stamp}\n" for place, stamp in zip(places, stamps, strict=True))
            state.update(f"{label.folder}\n{lines}".encode())
        return state.hexdigest()


NOT_UTF8 = "names that are not UTF-8"

NO_END_MARK = "rest of tars without an end mark, which may be cut off"
"""Nothing is known to be missing: some writers leave the mark out, and a cut between two members looks the same."""

FEW_PASSED_OVER = 1
"""So many files may be left out of a class of any size."""


def lost_files(source: Source) -> tuple[PassedOver, ...]:
    """Returns what was left out of known classes: files that may be images."""
    return tuple(entry for entry in source.passed_over if entry.folder)


def describe_passed_over(source: Source) -> list[str]:
    """Returns a line per reason: ``samples without a label: 5 (the first: a.tar/000.json)``."""
    reasons = dict.fromkeys(entry.reason for entry in source.passed_over)
    same = ([entry for entry in source.passed_over if entry.reason == reason] for reason in reasons)
    return [
        f"{entries[0].reason}: {sum(entry.num_files for entry in entries)} (the first: {entries[0].first})"
        for entries in same
    ]


def require_classes_kept(
    source: Source, *, wanted: Sequence[str] | None = None, max_rejected: float | None = None
) -> None:
    """Raises InputError if files that were passed over were all of a class, or more of it than `max_rejected` allows.

    Args:
        source: with all its classes.
        wanted: look at these classes only (names, WordNet ids or folders).
        max_rejected: largest share of a class that may be left out; by default any share but the whole.
    """
    kept = {label.folder: len(items) for label, items in zip(source.classes, source.items, strict=True)}
    labels = name_classes(sorted({entry.folder for entry in source.passed_over if entry.folder}))
    for folder in [label.folder for label in labels if not wanted or _is_among(label, wanted)]:
        entries = [entry for entry in source.passed_over if entry.folder == folder]
        lost, remaining = sum(entry.num_files for entry in entries), kept.get(folder, 0)
        reasons = ", ".join(f"{entry.reason}: {entry.num_files}" for entry in entries)
        problem = f"{source.spec}: {lost} of {lost + remaining} files of class {quoted_name(folder)} are left out"
        found = f"{problem} ({reasons}; the first: {entries[0].first})"
        if not remaining:
            raise InputError(f"{found}, so the class would vanish; unpack, convert, restore, rename or remove them")
        if max_rejected is not None and lost > max(max_rejected * (lost + remaining), FEW_PASSED_OVER):
            raise InputError(
                f"{found}, more than --max-rejected {max_rejected:g}; fix the source or raise --max-rejected, "
                "then run again"
            )


def _is_among(label: SourceClass, names: Sequence[str]) -> bool:
    return not _names_of(label).isdisjoint(join_names(names, _names_of(label)))


def _names_of(label: SourceClass) -> set[str]:
    return {name for name in (label.folder, label.name, label.wnid) if name}


def leave_out_undecodable(source: Source) -> Source:
    """Returns the source without images and classes whose names are not UTF-8; they are counted in `passed_over`."""
    kept = [
        tuple(item for item in items if is_utf8(item.key) and is_utf8(item.path)) if is_utf8(label.folder) else ()
        for label, items in zip(source.classes, source.items, strict=True)
    ]
    if all(len(new) == len(old) for new, old in zip(kept, source.items, strict=True)):
        return source
    notes = [
        PassedOver(NOT_UTF8, _writable(label.folder), len(old) - len(new), _first_undecodable(old))
        for label, old, new in zip(source.classes, source.items, kept, strict=True)
        if len(new) < len(old)
    ]
    classes = name_classes([label.folder for label, items in zip(source.classes, kept, strict=True) if items])
    items = tuple(filter(None, kept))
    return replace(source, classes=classes, items=items, passed_over=(*source.passed_over, *notes))


def _writable(folder: str) -> str:
    """Returns a class folder as it is, which others are compared with, unless it cannot be written."""
    return folder if is_utf8(folder) else shown_name(folder)


def _first_undecodable(items: Sequence[SourceItem]) -> str:
    return next(shown_name(item.uri) for item in items if not (is_utf8(item.key) and is_utf8(item.path)))


def name_classes(folders: Sequence[str]) -> tuple[SourceClass, ...]:
    """Returns classes numbered in the given order; WordNet ids of ImageNet-1K get their readable name."""
    names = imagenet_names() if any(wnid_of(folder) for folder in folders) else {}
    return tuple(
        SourceClass(index=index, name=names.get(folder, folder), wnid=wnid_of(folder), folder=folder)
        for index, folder in enumerate(folders)
    )


def keep_classes(source: Source, wanted: Sequence[str]) -> Source:
    """Returns the source with only the `wanted` classes (by name, WordNet id or folder), renumbered in source order.

    Raises:
        InputError: a name is unknown or matches several classes.
    """
    return take_classes(source, sorted(find_classes(source, wanted, flag="--classes")))


def take_classes(source: Source, order: Sequence[int]) -> Source:
    """Returns the source with the classes of these indices, renumbered in this order, and what was left out of them."""
    classes = tuple(replace(source.classes[old], index=new) for new, old in enumerate(order))
    folders = {"", *(label.folder for label in classes)}
    passed_over = tuple(entry for entry in source.passed_over if entry.folder in folders)
    return replace(
        source,
        classes=classes,
        items=tuple(source.items[old] for old in order),
        passed_over=passed_over,
    )


def find_classes(source: Source, names: Sequence[str], *, flag: str = "--only-classes") -> set[int]:
    """Returns the indices of the classes with these names, WordNet ids or folders.

    Names that hold commas may be cut at them, as in a comma-separated list.

    Raises:
        InputError: no class matches a name, or several do.
    """
    known = {name for label in source.classes for name in _names_of(label)}
    return {_find_class(source, name, flag=flag) for name in join_names(names, known)}


def _find_class(source: Source, name: str, *, flag: str) -> int:
    matches = [label.index for label in source.classes if name in _names_of(label)]
    if len(matches) == 1:
        return matches[0]
    listing = ", ".join(shown_name(label.folder) for label in source.classes[:20])
    more = " ..." if len(source.classes) > 20 else ""
    problem = "matches several classes" if matches else "is not a class"
    raise InputError(f"{flag}: {quoted_name(name)} {problem} of {source.spec}; classes are: {listing}{more}")
