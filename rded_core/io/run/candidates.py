"""Candidate tars of a run: members written and read by row."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from rded_core.errors import InputError
from rded_core.io.formats.images import RejectedImage
from rded_core.io.formats.sealed import digest_of
from rded_core.io.layout.run import DRAW, RunFolder
from rded_core.io.sources.base import SourceItem
from rded_core.io.sources.reading import read_item
from rded_core.io.storage.files import REMEDY

Row = dict[str, Any]


def content_of(rows: list[Row]) -> str:
    """Returns one digest over which images a class's candidates are, wherever they lie."""
    return digest_of([[row["position"], row["key"], row["source_uri"], row["source_sha256"]] for row in rows])


def member_name(position: int) -> str:
    """Names a candidate in its class's tar."""
    return f"p{position:06d}"


def into_tar(row: Row, offsets: dict[str, tuple[int, int]]) -> Row:
    """Returns a candidate's row with its place in its class's tar, where it is the file ``row["member"]``."""
    offset, num_bytes = offsets[row["member"]]
    return {**row, "path": "", "offset": offset, "num_bytes": num_bytes, "in_tar": True}


def read_candidate(run: RunFolder, unit: str, row: Row, *, verify: bool = False) -> bytes:
    """Reads a candidate's bytes: from the class's own tar where its row names no path, and trusted there.

    Raises:
        RejectedImage: ``missing`` where it has gone, ``changed`` where it is not what was drawn.
        InputError: the same of the class's own tar: that says nothing of the source.
    """
    place = row if row["path"] else {**row, "path": _tar_path(str(run.root), unit)}
    try:
        data = read_item(item_of(place))
        if (verify or row["path"]) and hashlib.sha256(data).hexdigest() != row["source_sha256"]:
            raise RejectedImage("changed", row["source_uri"])
    except RejectedImage as error:
        if row["path"]:
            raise
        raise InputError(f"{place['path']} is {error.reason} since it was written; {REMEDY}") from error
    return data


@lru_cache(maxsize=64)
def _tar_path(out: str, unit: str) -> str:
    """Returns a class's tar, once: building paths takes longer than reading a small image."""
    return str(RunFolder(Path(out)).tar(DRAW, unit))


def item_of(row: dict[str, Any]) -> SourceItem:
    """Returns the item whose place a table row holds."""
    return SourceItem(row["key"], row["path"], row["offset"], row["num_bytes"], row["in_tar"])
