"""Lineage read back: from a distilled image to its source images, and from a source image to where it is in use."""

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
from rded_core.io.formats.schemas import LINEAGE
from rded_core.io.formats.shards import read_shard
from rded_core.io.formats.tables import find_rows, read_rows
from rded_core.io.layout.dataset import REMEDY, DatasetFolder

NUM_NEAREST = 3
"""Keys that are offered for one that is not there."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TracedImage:
    """A distilled image and its lineage.

    Attributes:
        key: its name.
        rows: its rows of lineage, quadrants row by row.
        tar: the shard that holds it.
    """

    key: str
    rows: list[Row]
    tar: Path

    @property
    def class_index(self) -> int:
        """Its class."""
        return self.rows[0]["class_index"]


def is_sha256(name: str) -> bool:
    """Tells a digest from a URI."""
    return re.fullmatch(r"[0-9a-fA-F]{64}", name) is not None


def find_sources(path: Path, schema: Any, names: Collection[str]) -> list[Row]:
    """Reads the rows of a table that bear one of the source images named by URI or SHA-256.

    Raises:
        InputError: the table cannot be read.
    """
    digests = {name.lower() for name in names if is_sha256(name)}
    return find_rows(path, schema, {"source_uri": set(names), "source_sha256": digests})


def require_lineage(folder: DatasetFolder) -> None:
    """Raises InputError where a dataset has lost its lineage: what it would say is not that nothing is shown."""
    if len(folder.lineage_tables()) < max(len(folder.image_tars()), 1):
        raise InputError(
            f"lineage is missing in {folder.root / 'lineage'}; rded repair makes it again in a run folder, and a "
            "dataset without its run is to be fetched again"
        )


def find_images(folder: DatasetFolder, keys: Collection[str]) -> list[TracedImage]:
    """Finds distilled images by their keys, in the order given.

    Raises:
        InputError: there is no such image, with the nearest keys; or a table is damaged.
    """
    require_lineage(folder)
    found: defaultdict[str, list[Row]] = defaultdict(list)
    tars: dict[str, Path] = {}
    for number, table in enumerate(folder.lineage_tables()):  # one table a shard
        for row in find_rows(table, LINEAGE, {"key": set(keys)}):
            found[row["key"]].append(row)
            tars[row["key"]] = folder.images(number)
    if missing := [key for key in keys if key not in found]:
        raise _unknown_key(folder, missing[0])
    return [TracedImage(key, found[key], tars[key]) for key in dict.fromkeys(keys)]


def read_scores(folder: DatasetFolder) -> dict[int, list[tuple[str, float | None]]]:
    """Reads, by class, the image and the realism score in nats of every patch; controls have no scores.

    Raises:
        InputError: a table is damaged.
    """
    found: dict[int, list[tuple[str, float | None]]] = defaultdict(list)
    columns = pa.schema([LINEAGE.field(name) for name in ("class_index", "key", "score_nats")])
    for table in folder.lineage_tables():
        for row in read_rows(table, columns):
            found[row["class_index"]].append((row["key"], row["score_nats"]))
    return found


def _unknown_key(folder: DatasetFolder, key: str) -> InputError:
    known = list(dict.fromkeys(row["key"] for table in folder.lineage_tables() for row in read_rows(table, LINEAGE)))
    nearest = difflib.get_close_matches(key, known, n=NUM_NEAREST, cutoff=0.5) or known[:NUM_NEAREST]
    return InputError(f"no image {key!r} in {folder.root}, which holds {len(known)}; the nearest: {', '.join(nearest)}")


def find_uses(folder: DatasetFolder, names: Collection[str]) -> list[Row]:
    """Returns the lineage of every quadrant that shows one of the source images, named by URI or SHA-256.

    Raises:
        InputError: a table is damaged.
    """
    return [row for table in folder.lineage_tables() for row in find_sources(table, LINEAGE, names)]


def read_distilled(image: TracedImage) -> UInt8[Tensor, "3 s s"]:
    """Decodes a distilled image.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        files = next(files for key, files in read_shard(image.tar) if key == image.key)
        return decode_image(next(data for name, data in files.items() if name not in ("cls", "json")))
    except (OSError, tarfile.TarError, StopIteration, RejectedImage) as error:
        raise InputError(f"{image.tar} is damaged ({image.key}: {error}); {REMEDY}") from error
