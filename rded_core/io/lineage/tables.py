"""Reads lineage: from a distilled image to its source images, and from a source image to the patches cut from it."""

import difflib
import re
import tarfile
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from jaxtyping import UInt8
from torch import Tensor

from rded_core.errors import InputError
from rded_core.io.formats.images import RejectedImage, decode_image
from rded_core.io.formats.rows import LineageRow
from rded_core.io.formats.schemas import LINEAGE
from rded_core.io.formats.shards import read_shard
from rded_core.io.formats.tables import find_rows, read_rows
from rded_core.io.layout.dataset import REMEDY, DatasetFolder

NUM_NEAREST = 3
"""Number of keys suggested for an unknown one."""


@dataclass(frozen=True, slots=True)
class TracedImage:
    """A distilled image and its lineage.

    Attributes:
        key: name of the image.
        rows: its rows of lineage, one per quadrant, row by row.
        tar: shard that holds it.
    """

    key: str
    rows: list[LineageRow]
    tar: Path

    @property
    def class_index(self) -> int:
        """Class index of the image."""
        return self.rows[0]["class_index"]


def is_sha256(name: str) -> bool:
    """Returns True if `name` is a SHA-256 digest rather than a URI."""
    return re.fullmatch(r"[0-9a-fA-F]{64}", name) is not None


def find_sources(path: Path, schema: Any, names: Collection[str]) -> list[Any]:
    """Returns the rows of a table that name one of the source images, given by URI or SHA-256.

    Raises:
        InputError: the table cannot be read.
    """
    digests = {name.lower() for name in names if is_sha256(name)}
    return find_rows(path, schema, {"source_uri": set(names), "source_sha256": digests})


def require_lineage(folder: DatasetFolder) -> None:
    """Raises InputError if lineage tables are missing: a search in the rest could wrongly find nothing."""
    if len(folder.lineage_tables()) < max(len(folder.image_tars()), 1):
        raise InputError(
            f"lineage is missing in {folder.root / 'lineage'}; run rded repair on its run folder, or download "
            "the dataset again"
        )


def find_images(folder: DatasetFolder, keys: Collection[str]) -> list[TracedImage]:
    """Returns distilled images by their keys, in the order given, without duplicates.

    Raises:
        InputError: a key is unknown (the message names the nearest keys), or a table is damaged.
    """
    require_lineage(folder)
    rows: defaultdict[str, list[LineageRow]] = defaultdict(list)
    tars: dict[str, Path] = {}
    for number, table in enumerate(folder.lineage_tables()):  # one table per shard
        for row in find_rows(table, LINEAGE, {"key": set(keys)}):
            rows[row["key"]].append(row)
            tars[row["key"]] = folder.images(number)
    if missing := [key for key in keys if key not in rows]:
        raise _unknown_key(folder, missing[0])
    return [TracedImage(key, rows[key], tars[key]) for key in dict.fromkeys(keys)]


def read_scores(folder: DatasetFolder) -> dict[int, list[tuple[str, float | None]]]:
    """Returns (image key, realism score in nats) of every patch, by class; scores are None in controls.

    Raises:
        InputError: a table is damaged.
    """
    scores: dict[int, list[tuple[str, float | None]]] = defaultdict(list)
    columns = pa.schema([LINEAGE.field(name) for name in ("class_index", "key", "score_nats")])
    for table in folder.lineage_tables():
        for row in read_rows(table, columns):
            scores[row["class_index"]].append((row["key"], row["score_nats"]))
    return scores


def _unknown_key(folder: DatasetFolder, key: str) -> InputError:
    keys = list(dict.fromkeys(row["key"] for table in folder.lineage_tables() for row in read_rows(table, LINEAGE)))
    nearest = difflib.get_close_matches(key, keys, n=NUM_NEAREST, cutoff=0.5) or keys[:NUM_NEAREST]
    return InputError(f"no image {key!r} among the {len(keys)} in {folder.root}; nearest: {', '.join(nearest)}")


def find_uses(folder: DatasetFolder, names: Collection[str]) -> list[LineageRow]:
    """Returns the lineage of every quadrant cut from one of the source images, given by URI or SHA-256.

    Raises:
        InputError: a table is damaged.
    """
    return [row for table in folder.lineage_tables() for row in find_sources(table, LINEAGE, names)]


def read_distilled(image: TracedImage) -> UInt8[Tensor, "3 s s"]:
    """Returns a distilled image, decoded.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        files = next(files for key, files in read_shard(image.tar) if key == image.key)
        return decode_image(next(data for name, data in files.items() if name not in ("cls", "json")))
    except (OSError, tarfile.TarError, StopIteration, RejectedImage) as error:
        raise InputError(f"{image.tar} is damaged ({image.key}: {error}); {REMEDY}") from error
