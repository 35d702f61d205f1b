"""Opens a source by its spec string; see `open_source`."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path

from rded_core.errors import InputError
from rded_core.io.sources.base import (
    PassedOver,
    Source,
    describe_passed_over,
    keep_classes,
    leave_out_undecodable,
    require_classes_kept,
)
from rded_core.io.sources.image_folder import open_image_folder
from rded_core.io.sources.names import is_image_name
from rded_core.io.sources.parquet.partitions import without_partitions
from rded_core.io.sources.parquet_files import open_parquet_files
from rded_core.io.sources.splits.files import files_of_split, files_without_split, unsplit_files
from rded_core.io.sources.tars.patterns import expand_tars
from rded_core.io.sources.torchvision_sets import DEFAULT_ROOT, open_torchvision_set
from rded_core.io.sources.webdataset_tars import open_webdataset_tars
from rded_core.io.storage.tree import FileTree, list_tree
from rded_core.io.storage.urls import is_url, join_path
from rded_core.text.comma_names import join_names

NAMED_KINDS = (".tar", ".safetensors")
"""Endings that decide how a file is read."""

UNSPLIT = "files that name no split, as others do"

_KEEPS: ContextVar[bool] = ContextVar("keeps", default=False)
_kept: dict[tuple[object, ...], Source] = {}


@contextmanager
def sources_kept() -> Generator[None]:
    """Keeps each source that a block opens for the next call with the same arguments, which takes it over.

    So a run's inputs can be checked before it begins, without listing them twice.
    """
    _kept.clear()
    token = _KEEPS.set(True)
    try:
        yield
    finally:
        _KEEPS.reset(token)


def open_source(
    spec: str, *, split: str = "train", classes: tuple[str, ...] | None = None, max_rejected: float | None = None
) -> Source:
    """Opens a source and lists its classes and items, without reading an image.

    Args:
        spec: a folder of class folders; a folder of Parquet files with an image and a label column; WebDataset tars
            (a folder of them, a glob, or ``shard-{000000..000099}.tar``); any of these as an fsspec URL; or
            ``torchvision:CIFAR10`` (``torchvision:CIFAR10@/path/to/it``).
        split: ``train`` or ``val``: which one to open if the source has several.
        classes: keep only these (names, WordNet ids or folders).
        max_rejected: largest share of a class that may be passed over; by default any share but the whole.

    Raises:
        InputError: the source is not usable; the message says what was expected.
    """
    key = (spec, split, classes and tuple(classes), max_rejected)
    source = _kept.pop(key, None) or _open_checked(spec, split=split, classes=classes, max_rejected=max_rejected)
    if _KEEPS.get():
        _kept[key] = source
    return source


def _open_checked(spec: str, *, split: str, classes: tuple[str, ...] | None, max_rejected: float | None) -> Source:
    """Returns a source with the chosen classes, at least two of which remain."""
    source = leave_out_undecodable(_open_any(spec, split=split))
    if empty := [folder for folder in source.empty_folders if not classes or folder in join_names(classes, [folder])]:
        raise InputError(f"{spec} has empty class folders: {', '.join(empty[:5])}; fill or remove them")
    require_classes_kept(source, wanted=classes, max_rejected=max_rejected)
    if len(source.classes) < 2:
        names = ", ".join(label.folder for label in source.classes)
        raise InputError(
            f"{spec} holds one class ({names}), but classification needs at least two; {_advice_for_one(source)}"
        )
    kept = keep_classes(source, classes) if classes else source
    if len(kept.classes) < 2:
        names = ", ".join(label.folder for label in kept.classes)
        raise InputError(
            f"--classes leaves one class ({names}) of {spec}, but classification needs at least two; "
            "name two or more in --classes"
        )
    return kept


def _advice_for_one(source: Source) -> str:
    """Returns what to do about a single class: its folder holds the classes if all its images are in subfolders."""
    items = [item for group in source.items for item in group]
    if not all(item.path.endswith(item.key) for item in items):  # images in tars, tables and downloaded sets
        left_out = "; ".join(describe_passed_over(source))
        return "give a source with more classes" + (f" (left out: {left_out})" if left_out else "")
    first = items[0]
    if all(item.key.count("/") > 1 for item in items):
        folder = first.path.removesuffix(first.key) + first.key.partition("/")[0]
        return f"if they are in the folders below it, give {folder}"
    return "give the folder that holds the folders of all classes"


def absolute_spec(spec: str) -> str:
    """Returns a spec that means the same from any working directory; URLs stay unchanged."""
    if is_url(spec):
        return spec
    if spec.startswith("torchvision:"):
        name, _, root = spec.partition("@")
        return f"{name}@{Path(root or DEFAULT_ROOT).resolve()}"
    resolved = Path(spec).resolve()
    if spec.endswith(NAMED_KINDS) and resolved.suffix != Path(spec).suffix and not resolved.is_dir():
        return str(Path(spec).parent.resolve() / Path(spec).name)  # a link to a file that is named after its digest
    return str(resolved)


def _open_any(spec: str, *, split: str) -> Source:
    if spec.startswith("torchvision:"):
        return open_torchvision_set(spec, split=split)
    if spec.endswith(".tar") and (is_url(spec) or not Path(spec).is_dir()):
        matched = expand_tars(spec, split=split)
        return _with_note(open_webdataset_tars(matched.paths, spec=spec), UNSPLIT, matched.unsplit)
    tree = list_tree(spec)
    if not any(tree.folders.values()):
        raise InputError(f"{spec} is empty; expected class folders with images, .tar shards or .parquet files")
    tars = _find_tars(tree)
    tables = sorted(tree.paths(lambda name: name.endswith(".parquet")))
    if (tars or tables) and (image := next((path for path in tree.paths(is_image_name) if "/" in path), None)):
        raise InputError(
            f"{spec} holds both images in folders ({image}) and {(tars or tables)[0]}, so it is unclear which are "
            "the source; give a folder that holds only one kind"
        )
    if tars:
        below = [tar for tar in tree.paths(lambda name: name.endswith(".tar")) if tar not in set(tars)]
        _require_no_splits_below(tars, below, spec)
        source = open_webdataset_tars([join_path(spec, tar) for tar in files_of_split(tars, split)], spec=spec)
        source = _with_note(source, "tars in folders, beside tars at the top", below)
        return _with_unsplit(_with_note(source, "Parquet files, beside tars", tables), tars, split)
    if tables:
        plain = list(without_partitions(tables).values())
        return _with_unsplit(open_parquet_files(spec, tables, split=split), plain, split)
    return open_image_folder(spec, tree, spec=spec.rstrip("/"), split=split)


def _find_tars(tree: FileTree) -> list[str]:
    """Returns the tars at the top; if there is none and no folder holds images, those in folders."""
    tars = list(tree.paths(lambda name: name.endswith(".tar")))
    at_top = [tar for tar in tars if "/" not in tar]
    return at_top or ([] if any("/" in path for path in tree.paths(is_image_name)) else tars)


def _require_no_splits_below(tars: list[str], below: list[str], spec: str) -> None:
    """Raises InputError if tars in folders are the splits of a data set and those at the top name no split."""
    unnamed = set(files_without_split([*tars, *below]))
    named = [tar for tar in below if tar not in unnamed]
    if named and unnamed.issuperset(tars):
        raise InputError(
            f"{spec} holds {tars[0]} at its top and splits in folders ({named[0]}), so it is unclear which are the "
            f"source; give {spec.rstrip('/')}/{named[0].rpartition('/')[0]}, or {spec.rstrip('/')}/*.tar for those at "
            "the top"
        )


def _with_unsplit(source: Source, paths: list[str], split: str) -> Source:
    """Returns the source with a count of the files that it leaves out because others are named after the split."""
    return _with_note(source, UNSPLIT, unsplit_files(paths, files_of_split(paths, split)))


def _with_note(source: Source, reason: str, left_out: list[str]) -> Source:
    """Returns the source with a count of files that it leaves out."""
    if not left_out:
        return source
    note = PassedOver(reason, "", len(left_out), left_out[0])
    return replace(source, passed_over=(*source.passed_over, note))
