"""WebDataset tars, read in place: an index of member offsets, then ranged reads."""

import json
import re
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from fsspec.implementations.local import make_path_posix
from fsspec.utils import glob_translate
from webdataset.shardlists import expand_urls

from rded_core.errors import InputError
from rded_core.io.formats.shards import read_members
from rded_core.io.sources.base import Source, SourceItem, name_classes
from rded_core.io.sources.names import IMAGE_SUFFIXES
from rded_core.io.sources.splits import files_of_split, holds_splits
from rded_core.io.storage.remote_file import open_stream, read_bytes
from rded_core.io.storage.tree import list_tree
from rded_core.io.storage.urls import is_url, join_path, path_kind, stamp_of

GLOB_MARK = re.compile(r"[*?[]")

CLASS_NAME_FIELDS = ("class_name", "label_name")
"""Fields of a sample's .json that may name its class if its label is a number."""

LABEL_FIELDS = ("class_index", "label", "cls", "class", "class_id")
"""Fields of a sample's .json that may hold its label if it has no .cls; the first one present is taken."""


def expand_tars(pattern: str, *, split: str = "train") -> list[str]:
    """Returns the tar paths that a pattern of braces and globs expands to, sorted.

    If a glob matches files of both splits, those of `split` are taken, as from a folder; braces name files explicitly.

    Raises:
        InputError: nothing matches.
    """
    tars = set(_expand_part(pattern, split))
    missing = [tar for tar in sorted(tars) if path_kind(tar) is None]
    if missing or not tars:
        raise InputError(f"no such tar: {missing[0] if missing else pattern}; check the pattern {pattern!r}")
    return sorted(tars)


def _expand_part(pattern: str, split: str) -> Iterator[str]:
    """Yields the paths of a pattern; of a glob that matches files of both splits, those of `split`."""
    folder, rest = ("", pattern) if is_url(pattern) else _split_existing(make_path_posix(pattern))
    first, *others = rest.split("::")
    for other in [first, *others] if others and not folder else others:
        yield from _expand_part(other, split)
    if others and not folder:
        return
    for name in expand_urls(first) if first else [""]:
        if not GLOB_MARK.search(name):
            yield "/".join(filter(None, (folder, name)))
            continue
        root, names = (folder, _match_local(folder, name)) if folder else _match_remote(name)
        yield from (join_path(root, each) for each in (files_of_split(names, split) if holds_splits(names) else names))


def _split_existing(path: str) -> tuple[str, str]:
    """Splits a path after the longest part that exists: braces and brackets in there are names, not a pattern."""
    parts = path.split("/")
    depth = next(depth for depth in range(len(parts), -1, -1) if Path("/".join(parts[:depth]) or "/").exists())
    return "/".join(parts[:depth]) or "/", "/".join(parts[depth:])


def _match_remote(path: str) -> tuple[str, list[str]]:
    """Returns the folder of a glob and its matches, from our own listing: fsspec's skips folders that fail."""
    root = GLOB_MARK.split(path)[0].rpartition("/")[0]
    fits = re.compile(glob_translate(path.removeprefix(f"{root}/"))).match
    return root, [name for name in list_tree(root).paths(lambda name: name.endswith(".tar")) if fits(name)]


def _match_local(folder: str, pattern: str) -> list[str]:
    root = Path(folder)
    return sorted(match.relative_to(root).as_posix() for match in root.glob(pattern))


def open_webdataset_tars(tars: list[str], *, spec: str) -> Source:
    """Opens tars whose samples hold an image and a label (``.cls`` or a label in ``.json``).

    Integer labels are class indices, named by a ``classes.json`` next to the tars or in the folder above; text
    labels are class names, in sorted order.

    Raises:
        InputError: no image has a label, a key appears twice, or a file is not a plain tar.
    """
    by_label: defaultdict[str, list[SourceItem]] = defaultdict(list)
    names: defaultdict[str, set[str | None]] = defaultdict(set)
    ignored = 0
    for tar in tars:
        for label, name, item in _index_tar(tar):
            if label is None:
                ignored += 1
            else:
                by_label[label].append(item)
                names[label].add(name)
    if not by_label:
        raise InputError(f"{spec}: no sample holds both an image and a label (.cls, or a label in .json)")
    _check_unique([item for group in by_label.values() for item in group], spec)
    labels = sorted(by_label, key=int) if all(map(_is_index, by_label)) else sorted(by_label)
    return Source(
        spec=spec,
        classes=name_classes(_label_names(labels, names, tars[0])),
        items=tuple(tuple(sorted(by_label[label], key=lambda item: item.key)) for label in labels),
        is_webdataset=True,
        num_ignored_files=ignored,
    )


def _index_tar(tar: str) -> list[tuple[str | None, str | None, SourceItem]]:
    """Returns (label, class name, item) for every sample of one tar; None for a missing label or name."""
    samples: dict[str, dict[str, Any]] = defaultdict(dict)
    stamp = stamp_of(tar)
    try:
        with open_stream(tar) as stream:
            for archive, member in read_members(stream):
                if member.isfile():
                    _note_member(archive, member, samples, tar=tar, stamp=stamp)
    except OSError as error:
        raise InputError(f"{tar} cannot be read: {error.strerror or error}; check its permissions") from error
    except tarfile.TarError as error:
        raise InputError(f"{tar} is not a plain tar ({error}); give uncompressed .tar files") from error
    with_image = (sample for sample in samples.values() if "item" in sample)
    return [(sample.get("label"), sample.get("class_name"), sample["item"]) for sample in with_image]


def _note_member(
    archive: tarfile.TarFile, member: tarfile.TarInfo, samples: dict[str, dict[str, Any]], *, tar: str, stamp: int
) -> None:
    folder, _, base = member.name.rpartition("/")
    stem, _, extension = base.partition(".")
    key = f"{folder}/{stem}" if folder else stem
    if "." + extension.lower().rsplit(".", 1)[-1] in IMAGE_SUFFIXES:
        earlier = samples[key].get("item")
        if earlier and earlier.key == member.name:
            raise InputError(f"{tar}: key {member.name!r} appears twice; keys must be unique")
        if earlier and "." in extension:  # a mask such as a.seg.png next to a.jpg
            return
        samples[key]["item"] = SourceItem(member.name, tar, member.offset_data, member.size, True, stamp)
    elif extension in ("cls", "cls.txt", "json"):
        stream = archive.extractfile(member)
        text = stream.read().decode("utf-8", "replace").strip() if stream else ""
        label = text if extension != "json" else _field_of(text, LABEL_FIELDS)
        if label is not None and ("label" not in samples[key] or extension != "json"):
            samples[key]["label"] = label
        if extension == "json":
            samples[key]["class_name"] = _field_of(text, CLASS_NAME_FIELDS)


def _is_index(label: str) -> bool:
    return label.isascii() and label.isdigit() and len(label) < 10


def _field_of(json_text: str, names: tuple[str, ...]) -> str | None:
    """Returns the first of these fields that a sample's .json holds, as text, or None."""
    try:
        fields = json.loads(json_text)
    except (ValueError, RecursionError):
        return None
    for field in names:
        if isinstance(fields, dict) and field in fields:
            return str(fields[field])
    return None


def _label_names(labels: list[str], names: dict[str, set[str | None]], first_tar: str) -> list[str]:
    """Returns the class folder of each label, as named by a classes.json near the tars or by the samples.

    The labels stand for themselves unless each has one distinct name.
    """
    folder = first_tar.rsplit("/", 1)[0] if "/" in first_tar else "."
    above = folder.rsplit("/", 1)[0] if is_url(folder) else f"{folder}/.."
    for place in (f"{folder}/classes.json", f"{above}/classes.json"):
        try:
            folders = {str(entry["index"]): str(entry["folder"]) for entry in json.loads(read_bytes(place))}
        except InputError:  # the storage failed, so whether the file exists is unknown
            raise
        except (OSError, ValueError, TypeError, KeyError, RecursionError):  # missing, or in a different form
            continue
        if all(label in folders for label in labels):
            return [folders[label] for label in labels]
    sample_names = [next(iter(names[label])) for label in labels if _is_index(label) and len(names[label]) == 1]
    class_names = [name for name in sample_names if name]
    return class_names if len(set(class_names)) == len(labels) else labels


def _check_unique(items: list[SourceItem], spec: str) -> None:
    for before, after in pairwise(sorted(items, key=lambda item: item.key)):
        if before.key == after.key:
            raise InputError(
                f"{spec}: key {after.key!r} appears in {before.path} and {after.path}; keys must be unique"
            )
