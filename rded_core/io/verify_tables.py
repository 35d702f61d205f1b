"""Tables held to their schema, and soft-label tables row by row; needs no torch."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rded_core.io.manifest import digest_of
from rded_core.io.paths import block_name, block_of
from rded_core.io.tables import SCHEMA_VERSION, codec_schema, soft_label_schema, table_metadata


def check_schema(path: Path, schema: pa.Schema) -> pq.ParquetFile:
    """Opens a table whose schema and version are the ones given, to be read with its page checksums.

    Raises:
        ValueError: they are others.
        pa.ArrowException, OSError: it cannot be read.
    """
    opened = pq.ParquetFile(path.absolute(), page_checksum_verification=True)
    version = table_metadata(opened).get("schema_version")
    if version != SCHEMA_VERSION:
        raise ValueError(f"schema version {version}, this program knows {SCHEMA_VERSION}")
    if not opened.schema_arrow.equals(schema):
        raise ValueError("its columns are not those of its schema version")
    return opened


def missing_epochs(names: Iterable[str], num_epochs: int) -> list[range]:
    """Returns the stretches of epochs that none of the blocks so named holds."""
    held = sorted((block_of(name) for name in names), key=lambda block: block.start)
    missing: list[range] = []
    reached = 0
    for block in [*held, range(num_epochs, num_epochs + 1)]:
        if block.start > reached:
            missing.append(range(reached, block.start))
        reached = max(reached, block.stop)
    return missing


def check_label_table(
    path: Path, *, class_of: dict[str, int], folders: list[str], recipe: dict[str, Any], num_features: int = 0
) -> Iterator[str]:
    """Says what is wrong in a table of recorded views, epoch by epoch: each must name every image exactly once.

    `num_features` is the width of the teacher's last layer, where labels are stored as features.
    """
    own = codec_schema(str(recipe["label_codec"]), num_classes=len(folders), num_features=num_features)
    opened = check_schema(path, soft_label_schema(own))
    block, said = block_of(path.stem), table_metadata(opened)
    if said["codec"] != recipe["label_codec"]:
        yield f"its labels are stored as {said['codec']}, the recipe says {recipe['label_codec']}"
    if said["classes"] != digest_of(folders):
        yield "its logits are in the order of other classes"
    if said["teacher"] != recipe["teacher"]["digest"]:
        yield "its logits are another teacher's than the recipe's"
    if block_name(block) != path.stem or opened.num_row_groups != len(block):
        yield f"it has {opened.num_row_groups} row groups, which are not the epochs that its name says"
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
    if (_numbers(table, "epoch") != epoch).any():
        yield "rows of other epochs"
    if _numbers(table, "class_index").tolist() != [class_of[key] for key in named]:
        yield "rows of another class than their image"
    yield from view_faults(table, factor=recipe["views"]["factor"], size=recipe["size"])


def label_faults(table: pa.Table, own: pa.Schema) -> Iterator[str]:
    """Says so where labels, stored in the columns of `own`, are not finite."""
    if not all(np.isfinite(_numbers(table, field.name)).all() for field in own if _is_float(field.type)):
        yield "labels that are not finite"


def view_faults(table: pa.Table, *, factor: int, size: int) -> Iterator[str]:
    """Says which parameters of views no view of images of `factor` squared cells and `size` px can have."""
    batch, position = _numbers(table, "batch"), _numbers(table, "position")
    _, first, sizes = np.unique(batch, return_index=True, return_counts=True)
    if (np.diff(batch) < 0).any() or (position != np.arange(len(batch)) - np.repeat(first, sizes)).any():
        yield "rows that are not in the order of batch and position"
        return
    mix = _numbers(table, "mix_position")
    if (mix < 0).any() or (mix >= np.repeat(sizes, sizes)).any():
        yield "a partner outside its batch"
    for name in ("column_order", "row_order"):
        order = _numbers(table, name).reshape(-1, factor)
        if len(order) != table.num_rows or (np.sort(order, axis=1) != np.arange(factor)).any():
            yield f"a {name} that is no permutation of {factor} cells"
    for box in ("crop", "mix"):
        for start, length in (("top", "height"), ("left", "width")):
            low, extent = _numbers(table, f"{box}_{start}"), _numbers(table, f"{box}_{length}")
            if (low < 0).any() or (extent < (box == "crop")).any() or (low + extent > size).any():
                yield f"a {box} box outside the image"


def _is_float(kind: pa.DataType) -> bool:
    """Tells whether a column holds floats, or lists of them."""
    return pa.types.is_floating(kind.value_type if pa.types.is_fixed_size_list(kind) else kind)


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    """Returns a column, or the elements of a column of lists, as an array."""
    column = table[name].combine_chunks()
    is_list = pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)
    return np.asarray((column.flatten() if is_list else column).to_numpy(zero_copy_only=False))
