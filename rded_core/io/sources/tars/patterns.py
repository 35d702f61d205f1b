"""The tars that a pattern of braces and globs names."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fsspec.implementations.local import make_path_posix
from fsspec.utils import glob_translate
from webdataset.shardlists import expand_urls

from rded_core.errors import InputError
from rded_core.io.sources.splits.files import files_of_split, holds_splits, unsplit_files
from rded_core.io.storage.tree import list_tree
from rded_core.io.storage.urls import is_url, join_path, path_kind

GLOB_MARK = re.compile(r"[*?[]")


class MatchedTars(NamedTuple):
    """The tars of a pattern.

    Attributes:
        paths: those to read, sorted.
        unsplit: names of those that globs matched and left out, because they name no split and others do.
    """

    paths: list[str]
    unsplit: list[str]


def expand_tars(pattern: str, *, split: str = "train") -> MatchedTars:
    """Returns the tars that a pattern of braces and globs expands to.

    If a glob matches files of both splits, those of `split` are taken, as from a folder; braces name files explicitly.

    Raises:
        InputError: nothing matches.
    """
    found = list(_expand_part(pattern, split))
    tars = {path for path, unsplit in found if not unsplit}
    left_out = {path: name for path, name in found if path not in tars}
    missing = [tar for tar in sorted(tars) if path_kind(tar) is None]
    if missing or not tars:
        raise InputError(_no_tar(missing[0] if missing else "", pattern))
    return MatchedTars(sorted(tars), sorted(left_out.values()))


def _no_tar(missing: str, pattern: str) -> str:
    """Returns the error for a tar that a pattern names, or for a glob that matches nothing."""
    if not missing:
        return f"no such tar: nothing matches {pattern}; pass a folder, or a pattern (* ? [] {{}}) of .tar files"
    return f"no such tar: {missing}; check the {'path' if missing == pattern else f'pattern {pattern!r}'}"


def _expand_part(pattern: str, split: str) -> Iterator[tuple[str, str]]:
    """Yields each path of a pattern with "", or with its name if it is left out for naming no split."""
    folder, rest = ("", pattern) if is_url(pattern) else _split_existing(str(make_path_posix(pattern)))
    first, *others = rest.split("::")
    for other in [first, *others] if others and not folder else others:
        yield from _expand_part(other, split)
    if others and not folder:
        return
    for name in expand_urls(first) if first else [""]:
        if not GLOB_MARK.search(name):
            yield "/".join(filter(None, (folder, name))), ""
            continue
        root, names = (folder, _match_local(folder, name)) if folder else _match_remote(name)
        chosen = files_of_split(names, split) if holds_splits(names) else names
        yield from ((join_path(root, each), "") for each in chosen)
        yield from ((join_path(root, each), each) for each in unsplit_files(names, chosen))


def _split_existing(path: str) -> tuple[str, str]:
    """Splits a path after the longest part that exists: braces and brackets in there are names, not a pattern."""
    parts = path.split("/")
    folders = ("/".join(parts[:depth]) or "/" for depth in range(len(parts), -1, -1))
    depth = next(len(parts) - skipped for skipped, folder in enumerate(folders) if os.path.exists(folder))  # noqa: PTH110  (a locked folder is not there)
    return "/".join(parts[:depth]) or "/", "/".join(parts[depth:])


def _match_remote(path: str) -> tuple[str, list[str]]:
    """Returns the folder of a glob and its matches, from our own listing: fsspec's skips folders that fail."""
    root = GLOB_MARK.split(path)[0].rpartition("/")[0]
    fits = re.compile(glob_translate(path.removeprefix(f"{root}/"))).match
    return root, [name for name in list_tree(root).paths(lambda name: name.endswith(".tar")) if fits(name)]


def _match_local(folder: str, pattern: str) -> list[str]:
    root = Path(folder)
    return sorted(match.relative_to(root).as_posix() for match in root.glob(pattern))
