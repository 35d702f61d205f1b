"""Soft-label tables: views and logits to rows and back."""

from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float16, Int
from torch import Tensor

from rded_core.errors import InputError, first_line
from rded_core.io.tables import open_table, soft_label_schema, write_tables
from rded_core.views import Views

EPOCHS_PER_FILE = 10

LabelledBatch = tuple[Tensor, Views, Tensor]
"""Rows of the images in the dataset's order, their views, and the teacher's float16 logits."""


def write_soft_labels(
    path: Path,
    batches: Iterable[tuple[int, LabelledBatch]],
    *,
    keys: list[str],
    class_indices: Int[Tensor, "n"],
    num_classes: int,
    metadata: dict[str, Any],
) -> None:
    """Writes the batches of a block of epochs, given with their epochs in order, one row group an epoch.

    An epoch is written as soon as it is complete, while the next is computed: memory holds a few epochs, whatever the
    number in the block.
    """
    schema = soft_label_schema(num_classes)
    tables = (
        pa.concat_tables(
            [
                _batch_table(epoch, number, batch, keys=keys, class_indices=class_indices, schema=schema)
                for number, (_, batch) in enumerate(entries)
            ]
        ).combine_chunks()
        for epoch, entries in groupby(batches, key=itemgetter(0))
    )
    write_tables(path, tables, schema, metadata={"codec": "float16", **metadata}, noise_columns=("logits",))


def read_epoch(path: Path, row_group: int, rows_by_key: dict[str, int]) -> list[LabelledBatch]:
    """Reads one epoch: its batches in order.

    Raises:
        InputError: the table is damaged, or names an image that the dataset does not hold.
    """
    try:
        with open_table(path) as opened:
            table = opened.read_row_group(row_group)
        keys = table["key"].to_pylist()
        rows = torch.tensor([rows_by_key[key] for key in keys])
        views, logits = _views_of(table), _logits_of(table)
        batch = torch.from_numpy(table["batch"].to_numpy().copy())
    except (pa.ArrowException, OSError, IndexError, ValueError, RuntimeError) as error:
        raise InputError(f"{path} cannot be read: {first_line(error)}; distil again, or fetch it again") from error
    except KeyError as error:
        raise InputError(
            f"{path} does not belong to these images: it names {error}; fetch both from one dataset"
        ) from error
    sizes: list[int] = torch.unique_consecutive(batch, return_counts=True)[1].tolist()
    split = [part.split(sizes) for part in _parts(views)]
    batches = [Views(*(part[number] for part in split)) for number in range(len(sizes))]
    return list(zip(rows.split(sizes), batches, logits.split(sizes), strict=True))


def _batch_table(
    epoch: int, number: int, batch: LabelledBatch, *, keys: list[str], class_indices: Tensor, schema: pa.Schema
) -> pa.Table:
    rows, views, logits = batch
    count = len(rows)
    crop, box = views.crop_box.T.numpy(), views.mix_box.T.numpy()
    element = schema.field("logits").type.value_field
    columns: list[Any] = [
        np.full(count, epoch),
        np.full(count, number),
        np.arange(count),
        [keys[row] for row in rows.tolist()],
        class_indices[rows].numpy(),
        _list_array(views.column_order),
        _list_array(views.row_order),
        *crop,
        views.flip.numpy(),
        views.mix_position.numpy(),
        *box,
        views.mix_weight.numpy(),
        pa.FixedSizeListArray.from_arrays(
            pa.array(logits.numpy().reshape(-1), type=pa.float16()), type=pa.list_(element, logits.shape[1])
        ),
    ]
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, type=field.type)
        for column, field in zip(columns, schema, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _list_array(order: Int[Tensor, "b f"]) -> pa.ListArray:
    count, length = order.shape
    offsets = np.arange(count + 1, dtype=np.int32) * length
    return pa.ListArray.from_arrays(offsets, pa.array(order.numpy().reshape(-1), type=pa.uint8()))


def _parts(views: Views) -> list[Tensor]:
    return [getattr(views, name) for name in Views.__slots__]


def _column(table: pa.Table, name: str) -> Tensor:
    return torch.from_numpy(table[name].to_numpy(zero_copy_only=False).copy())


def _box(table: pa.Table, prefix: str) -> Tensor:
    sides = ("top", "left", "height", "width")
    return torch.stack([_column(table, f"{prefix}_{side}").long() for side in sides], dim=1)


def _orders(table: pa.Table, name: str) -> Tensor:
    flat = table[name].combine_chunks().flatten().to_numpy()
    return torch.from_numpy(flat.astype(np.int64)).view(table.num_rows, -1)


def _views_of(table: pa.Table) -> Views:
    return Views(
        column_order=_orders(table, "column_order"),
        row_order=_orders(table, "row_order"),
        crop_box=_box(table, "crop"),
        flip=_column(table, "flip"),
        mix_position=_column(table, "mix_position").long(),
        mix_box=_box(table, "mix"),
        mix_weight=_column(table, "mix_weight"),
    )


def _logits_of(table: pa.Table) -> Float16[Tensor, "b k"]:
    flat = table["logits"].combine_chunks().flatten().to_numpy()
    return torch.from_numpy(flat.copy()).view(table.num_rows, -1)
