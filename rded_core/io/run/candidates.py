"""Candidate tars of a run: members written and read by row."""

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from rded_core.errors import InputError
from rded_core.io.formats.images import RejectedImage, is_form_read_differently
from rded_core.io.formats.pixel_forms import MAGIC_CHARS, SUFFIXES, may_be_read_differently
from rded_core.io.formats.rows import CandidateRow, PlaceRow
from rded_core.io.formats.schemas import CANDIDATES
from rded_core.io.formats.sealed import digest_of
from rded_core.io.formats.tables import read_rows
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


def hold_form_read_differently(run: RunFolder, unit: str, content: str) -> bool:
    """Whether one of a class's candidates is stored in a form that earlier versions decoded to other pixels.

    Candidates in the class's own tar are judged by their first bytes and header, those in the source's tars by their
    ending first: they may be far away. `content` is `content_of` the candidates, for the cache.
    """
    try:
        return _hold_form_read_differently(str(run.root), unit, content)
    except (OSError, InputError, RejectedImage):
        return False  # the stage that needs them says what is wrong


@lru_cache(maxsize=4096)
def _hold_form_read_differently(out: str, unit: str, content: str) -> bool:
    del content
    run = RunFolder(Path(out))
    suspects = set(_suspects(run, unit))
    rows: list[CandidateRow] = read_rows(run.table(DRAW, unit), CANDIDATES) if suspects else []
    lost: list[RejectedImage] = []
    for row in rows:
        try:
            if row["position"] in suspects and is_form_read_differently(read_candidate(run, unit, row)):
                return True
        except RejectedImage as error:
            lost.append(error)
    if lost:
        raise lost[0]  # not kept in the cache: the image may come back
    return False


def _suspects(run: RunFolder, unit: str) -> Iterator[int]:
    """Yields the positions of candidates that may be in such a form, without reading whole images."""
    places = pa.schema([CANDIDATES.field(name) for name in ("position", "path", "offset", "source_uri")])
    rows: list[CandidateRow] = read_rows(run.table(DRAW, unit), places)
    yield from (row["position"] for row in rows if row["path"] and row["source_uri"].lower().endswith(SUFFIXES))
    inside = [row for row in rows if not row["path"]]
    if inside:
        with run.tar(DRAW, unit).open("rb", buffering=0) as tar:
            for row in inside:
                tar.seek(row["offset"])
                if may_be_read_differently(tar.read(MAGIC_CHARS)):
                    yield row["position"]


@lru_cache(maxsize=64)
def _tar_path(out: str, unit: str) -> str:
    """Returns the path of a class's tar, cached: building paths takes longer than reading a small image."""
    return str(RunFolder(Path(out)).tar(DRAW, unit))


def item_of(row: PlaceRow) -> SourceItem:
    """Returns the source item that a table row points to."""
    return SourceItem(row["key"], row["path"], row["offset"], row["num_bytes"], row["in_tar"])
