"""Soft-label tables: views and labels as rows, written and read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from jaxtyping import Int
from torch import Tensor

from rded_core.errors import InputError, first_line
from rded_core.io.formats.label_columns import is_alike, read_columns, to_array
from rded_core.io.formats.label_faults import label_faults, view_faults
from rded_core.io.formats.schemas import SCHEMA_VERSION, codec_schema, soft_label_schema
from rded_core.io.formats.tables import open_table, table_metadata, write_tables
from rded_core.io.layout.dataset import REMEDY, DatasetFolder
from rded_core.io.layout.units import block_name, epoch_blocks
from rded_core.io.storage.stand_ins import reason_or_pointer
from rded_core.labels.codecs import Codec, Encoded
from rded_core.labels.views import Views

EPOCHS_PER_FILE = 10

SEARCHED = ("epoch", "batch", "key", "class_index")
"""Columns that queries select rows by."""

LabelledBatch = tuple[Tensor, Views, Encoded]
"""Indices of the images in the dataset's order, their views, and the teacher's outputs as the codec stores them."""


@dataclass(frozen=True, slots=True)
class EpochLabels:
    """One recorded epoch, all of its batches concatenated.

    Attributes:
        rows: indices of the images in the dataset's order.
        batch: number of the recorded batch, never decreasing.
        views: the views; their partners are rows of this epoch.
        encoded: the labels as the codec stored them.
    """

    rows: Int[Tensor, "b"]
    batch: Int[Tensor, "b"]
    views: Views
    encoded: Encoded

    def sizes(self) -> list[int]:
        """Returns the number of views in each recorded batch."""
        return torch.unique_consecutive(self.batch, return_counts=True)[1].tolist()


class LabelReader:
    """Reads the tables of one dataset.

    Args:
        keys: keys of the dataset's images, in its order.
        codec: codec that the labels are stored in.
        images: digest of the pixels that the labels must belong to; None if unknown.
        size: image size in px, which views must lie inside; None if unknown.
    """

    def __init__(self, keys: Sequence[str], codec: Codec, images: str | None = None, size: int | None = None) -> None:
        self.codec, self.images, self.size = codec, images, size
        self._keys = pa.array(list(keys), type=pa.string())
        self._columns = columns_of(codec)

    def read_epoch(self, path: Path, row_group: int) -> EpochLabels:
        """Reads one epoch.

        Raises:
            InputError: the table is damaged, of a newer version or a different codec, or belongs to other images.
        """
        try:
            with open_table(path) as opened:
                self._require_own(path, opened)
                table = opened.read_row_group(row_group)
            rows = pc.index_in(table["key"].combine_chunks(), self._keys)  # pyright: ignore[reportAttributeAccessIssue]
            if rows.null_count:
                unknown = table["key"].filter(rows.is_null())[0].as_py()
                raise InputError(
                    f"{path} does not belong to these images: {unknown!r} is not one of their keys; fetch both from "
                    "the same dataset"
                )
            self._require_sound(table)
            encoded = read_columns(table, self._columns.names)
            batch = torch.from_numpy(table["batch"].to_numpy().astype(np.int64))
            views = _views_of(table, batch)
        except InputError:
            raise
        except KeyError as error:
            raise InputError(f"{path} lacks a column: {error.args[0]}; {REMEDY}") from error
        except (pa.ArrowException, OSError, IndexError, ValueError, TypeError, RuntimeError) as error:
            why = reason_or_pointer(path, first_line(error), REMEDY)
            raise InputError(f"{path} cannot be read: {why}") from error
        return EpochLabels(torch.from_numpy(rows.to_numpy().astype(np.int64)), batch, views, encoded)

    def _require_own(self, path: Path, opened: pq.ParquetFile) -> None:
        """Raises InputError if a table's metadata or column types belong to a different dataset."""
        metadata = table_metadata(opened)
        version = metadata.get("schema_version")
        if version is None:
            raise InputError(
                f"{path} has no Parquet metadata 'rded': it was not written by rded, or another program has rewritten "
                f"it; {REMEDY}"
            )
        if version != SCHEMA_VERSION:
            raise InputError(f"{path} has schema version {version}, but this rded reads {SCHEMA_VERSION}; upgrade rded")
        if metadata.get("codec") != self.codec.name:
            raise InputError(
                f"{path} stores labels as {metadata.get('codec')}, but recipe.json says {self.codec.name}; fetch both "
                "from the same dataset"
            )
        if self.images is not None and metadata.get("images", self.images) != self.images:
            raise InputError(
                f"{path} holds labels of different images with the same names; fetch both from the same dataset"
            )
        for field in self._columns:
            actual = opened.schema_arrow.field(field.name).type
            if not is_alike(actual, field.type):
                raise InputError(
                    f"{path} stores {field.name} as {actual}, but {self.codec.num_classes} classes need {field.type}; "
                    "fetch both from the same dataset"
                )

    def _require_sound(self, table: pa.Table) -> None:
        """Raises ValueError if labels are not finite, or views are impossible for these images."""
        faults = label_faults(table, self._columns)
        if self.size is not None and table.num_rows:
            cells = table["column_order"].combine_chunks().flatten()
            faults = chain(faults, view_faults(table, factor=len(cells) // table.num_rows, size=self.size))
        if fault := next(faults, ""):
            raise ValueError(f"it holds {fault}")


def columns_of(codec: Codec) -> pa.Schema:
    """Returns the columns in which a codec stores labels."""
    return codec_schema(codec.name, num_classes=codec.num_classes, num_features=codec.num_outputs)


def find_table(folder: DatasetFolder, epoch: int, *, num_epochs: int) -> Path:
    """Returns the file that holds an epoch of a dataset with `num_epochs` stored epochs."""
    block = epoch_blocks(num_epochs, EPOCHS_PER_FILE)[epoch // EPOCHS_PER_FILE]
    return folder.soft_labels(block_name(block))


def split_batches(epoch: EpochLabels) -> list[LabelledBatch]:
    """Splits an epoch into its recorded batches; partners are then positions in their own batch."""
    sizes = epoch.sizes()
    starts = np.repeat(np.cumsum([0, *sizes[:-1]]), sizes)
    own = epoch.views.mix_position - torch.from_numpy(starts)
    split = [part.split(sizes) for part in _parts(epoch.views)]
    views = [
        Views(**{**dict(zip(Views.__slots__, parts, strict=True)), "mix_position": positions})
        for *parts, positions in zip(*split, own.split(sizes), strict=True)
    ]
    encoded = {name: part.split(sizes) for name, part in epoch.encoded.items()}
    labels = [{name: parts[number] for name, parts in encoded.items()} for number in range(len(sizes))]
    return list(zip(epoch.rows.split(sizes), views, labels, strict=True))


def write_soft_labels(
    path: Path,
    batches: Iterable[tuple[int, LabelledBatch]],
    *,
    keys: list[str],
    class_indices: Int[Tensor, "n"],
    codec: Codec,
    metadata: dict[str, Any],
) -> None:
    """Writes the batches of a block of epochs, given with their epochs in order, one row group per epoch.

    An epoch is written as soon as it is complete, while the next is computed: memory holds a few epochs, regardless
    of the number in the block.
    """
    own = columns_of(codec)
    schema = soft_label_schema(own)
    names = pa.array(keys, type=pa.string())
    tables = (
        _epoch_table(epoch, [batch for _, batch in entries], names=names, classes=class_indices, schema=schema)
        for epoch, entries in groupby(batches, key=itemgetter(0))
    )
    full_metadata = {"codec": codec.name, **metadata}
    write_tables(path, tables, schema, metadata=full_metadata, noise_columns=own.names, statistics=SEARCHED)


def _epoch_table(
    epoch: int, batches: list[LabelledBatch], *, names: pa.Array, classes: Tensor, schema: pa.Schema
) -> pa.Table:
    rows = torch.cat([batch[0] for batch in batches])
    views = [torch.cat(parts) for parts in zip(*(_parts(batch[1]) for batch in batches), strict=True)]
    column_order, row_order, crop_box, flip, mix_position, mix_box, mix_weight = views
    sizes = [len(batch[0]) for batch in batches]
    columns: list[Any] = [
        np.full(len(rows), epoch),
        np.repeat(np.arange(len(batches)), sizes),
        np.concatenate([np.arange(size) for size in sizes]),
        names.take(pa.array(rows.numpy())),
        classes[rows].numpy(),
        _list_array(column_order),
        _list_array(row_order),
        *crop_box.T.numpy(),
        flip.numpy(),
        mix_position.numpy(),
        *mix_box.T.numpy(),
        mix_weight.numpy(),
        *(to_array(torch.cat([batch[2][name] for batch in batches])) for name in batches[0][2]),
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


def _views_of(table: pa.Table, batch: Tensor) -> Views:
    """Returns an epoch's views; partners, stored as positions in their batch, become rows of the epoch."""
    sizes = torch.unique_consecutive(batch, return_counts=True)[1]
    starts = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    partner = _column(table, "mix_position").long()
    if (partner < 0).any() or (partner >= sizes.repeat_interleave(sizes)).any():
        raise ValueError("a partner outside its batch")
    return Views(
        column_order=_orders(table, "column_order"),
        row_order=_orders(table, "row_order"),
        crop_box=_box(table, "crop"),
        flip=_column(table, "flip"),
        mix_position=partner + starts,
        mix_box=_box(table, "mix"),
        mix_weight=_column(table, "mix_weight"),
    )
