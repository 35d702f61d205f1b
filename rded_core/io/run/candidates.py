"""Candidate tars of a run: members written and read by row."""

import hashlib
from functools import lru_cache
from pathlib import Path

from rded_core.errors import InputError
from rded_core.io.formats.images import RejectedImage
from rded_core.io.formats.rows import CandidateRow, PlaceRow
from rded_core.io.formats.sealed import digest_of
from rded_core.io.layout.run import DRAW, RunFolder
from rded_core.io.sources.base import SourceItem
from rded_core.io.sources.reading import read_item
from rded_core.io.storage.files import REMEDY


def content_of(rows: list[CandidateRow]) -> str:
    """Returns one digest of which images a class's candidates are, regardless of where they are stored."""
    return digest_of([[row["position"], row["key"], row["source_uri"], row["source_sha256"]] for row in rows])


def member_name(position: int) -> str:
    """Returns the name of a candidate in its class's tar."""
    return f"p{position:06d}"


def into_tar(row: CandidateRow, offsets: dict[str, tuple[int, int]]) -> CandidateRow:
    """Returns a candidate's row with its byte range in its class's tar, in which its file is ``row["member"]``."""
    offset, num_bytes = offsets[row.get("member", "")]
    return {**row, "path": "", "offset": offset, "num_bytes": num_bytes, "in_tar": True}


def read_candidate(run: RunFolder, unit: str, row: CandidateRow, *, verify: bool = False) -> bytes:
    """Returns a candidate's bytes; a row without a path is read from the class's own tar, and trusted unless `verify`.

    Raises:
        RejectedImage: ``missing`` if it no longer exists, ``changed`` if it is not the image that was drawn.
        InputError: the same for the class's own tar, which says nothing about the source.
    """
    place = row.copy()
    place["path"] = row["path"] or _tar_path(str(run.root), unit)
    try:
        data = read_item(item_of(place))
        if (verify or row["path"]) and hashlib.sha256(data).hexdigest() != row["source_sha256"]:
            raise RejectedImage("changed", row["source_uri"])
    except RejectedImage as error:
        if row["path"]:
            raise
        raise InputError(f"{place['path']} was damaged or removed ({error.reason}); {REMEDY}") from error
    return data


@lru_cache(maxsize=64)
def _tar_path(out: str, unit: str) -> str:
    """Returns the path of a class's tar, cached: building paths takes longer than reading a small image."""
    return str(RunFolder(Path(out)).tar(DRAW, unit))


def item_of(row: PlaceRow) -> SourceItem:
    """Returns the source item that a table row points to."""
    return SourceItem(row["key"], row["path"], row["offset"], row["num_bytes"], row["in_tar"])
