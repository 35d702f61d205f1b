"""Checks of tables against their schema, and of soft-label tables row by row; needs no torch."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rded_core.io.formats.label_faults import column_numbers, label_faults, view_faults
from rded_core.io.formats.schemas import SCHEMA_VERSION, codec_schema, soft_label_schema
from rded_core.io.formats.sealed import digest_of
from rded_core.io.formats.tables import table_metadata
from rded_core.io.layout.units import block_name, block_of


def check_schema(path: Path, schema: pa.Schema) -> pq.ParquetFile:
    """Returns a table, opened with page checksums, after checking its schema and schema version.

    Raises:
        ValueError: the schema or its version differs.
        pa.ArrowException, OSError: the table cannot be read.
    """
    opened = pq.ParquetFile(path.absolute(), page_checksum_verification=True)
    version = table_metadata(opened).get("schema_version")
    if version != SCHEMA_VERSION:
        raise ValueError(f"schema version {version}; this rded reads version {SCHEMA_VERSION}")
    if not opened.schema_arrow.equals(schema):
        raise ValueError("its columns do not match its schema version")
    return opened


def missing_epochs(names: Iterable[str], num_epochs: int) -> list[range]:
    """Returns the ranges of epochs below `num_epochs` that no block in `names` covers."""
    blocks = sorted((block_of(name) for name in names), key=lambda block: block.start)
    missing: list[range] = []
    reached = 0
    for block in [*blocks, range(num_epochs, num_epochs + 1)]:
        if block.start > reached:
            missing.append(range(reached, block.start))
        reached = max(reached, block.stop)
    return missing


def check_label_table(
    path: Path, *, class_of: dict[str, int], folders: list[str], recipe: dict[str, Any], num_features: int = 0
) -> Iterator[str]:
    """Yields what is wrong in a table of recorded views, epoch by epoch: each must name every image exactly once.

    `num_features` is the width of the teacher's last layer, if labels are stored as features.
    """
    own = codec_schema(str(recipe["label_codec"]), num_classes=len(folders), num_features=num_features)
    opened = check_schema(path, soft_label_schema(own))
    block, metadata = block_of(path.stem), table_metadata(opened)
    if metadata["codec"] != recipe["label_codec"]:
        yield f"its labels are stored as {metadata['codec']}, but the recipe says {recipe['label_codec']}"
    if metadata["classes"] != digest_of(folders):
        yield "its logits are in the order of different classes"
    if metadata["teacher"] != recipe["teacher"]["digest"]:
        yield "its logits are from a different teacher than the recipe's"
    if block_name(block) != path.stem or opened.num_row_groups != len(block):
        yield f"it has {opened.num_row_groups} row groups, which do not match the epochs in its name"
        return
    keys = sorted(class_of)
    for group, epoch in enumerate(block):
        table = opened.read_row_group(group)
        for what in label_faults(table, own):
            yield f"epoch {epoch}: {what}"
        for what in _check_epoch(table, epoch, keys=keys, class_of=class_of, recipe=recipe):
            yield f"epoch {epoch}: {what}"


def _check_epoch(
    table: pa.Table, epoch: int, *, keys: list[str], class_of: dict[str, int], recipe: dict[str, Any]
) -> Iterator[str]:
    named = table["key"].to_pylist()
    if sorted(named) != keys:
        yield "it does not name every image exactly once"
        return
    if (column_numbers(table, "epoch") != epoch).any():
        yield "rows of other epochs"
    if column_numbers(table, "class_index").tolist() != [class_of[key] for key in named]:
        yield "rows of a different class than their image"
    yield from view_faults(table, factor=recipe["views"]["factor"], size=recipe["size"])
