"""A folder of Hugging Face style Parquet files: image bytes and a label a row."""

import json
from bisect import bisect_right
from collections import defaultdict
from functools import lru_cache
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rded_core.errors import InputError
from rded_core.io.sources.base import Source, SourceItem, name_classes
from rded_core.io.sources.splits import files_of_split
from rded_core.io.storage import join_path, open_stream

IMAGE_COLUMNS = ("image", "img", "jpg", "png", "webp")
LABEL_COLUMNS = ("label", "labels", "fine_label", "class_id", "class_index", "cls")


def open_parquet_files(root: str, tables: list[str], *, split: str) -> Source:
    """Opens Parquet files with an image column (bytes, or a struct with ``bytes``) and a label column.

    Class names come from the Hugging Face metadata where it is there; else integer labels stand for themselves and
    text labels are sorted. Files whose names begin with another split's (``test-00000-of-00001.parquet``) are left out.

    Raises:
        InputError: a column is missing, or no row has a label.
    """
    chosen = files_of_split(tables, split)
    first = join_path(root, chosen[0])
    schema = _open_table(first).schema_arrow
    image = schema.field(_find_column(schema, IMAGE_COLUMNS, what="an image", path=first))
    if not (pa.types.is_binary(image.type) or pa.types.is_large_binary(image.type) or pa.types.is_struct(image.type)):
        raise InputError(f"{first}: its image column {image.name!r} holds {image.type}, not bytes")
    label = _find_column(schema, LABEL_COLUMNS, what="a label", path=first)
    names = _label_names(schema, label)
    by_label: defaultdict[Any, list[SourceItem]] = defaultdict(list)
    unlabelled = 0
    for relative in chosen:
        path = join_path(root, relative)
        table = _open_table(path)
        num_bytes = sum(table.metadata.row_group(group).total_byte_size for group in range(table.num_row_groups))
        _find_column(table.schema_arrow, (label,), what="a label", path=path)
        for row, value in enumerate(table.read(columns=[label])[label].to_pylist()):
            if value is None or value == -1:  # the Hub's sign for "no label"
                unlabelled += 1
            else:
                by_label[value].append(
                    SourceItem(key=f"{relative}#{row:08d}", path=path, offset=row, num_bytes=num_bytes)
                )
    if not by_label:
        raise InputError(f"{root}: no row has a label in column {label!r}")
    labels = sorted(by_label)
    folders = [names[value] if names and isinstance(value, int) else str(value) for value in labels]
    return Source(
        spec=root,
        classes=name_classes(folders),
        items=tuple(tuple(by_label[value]) for value in labels),
        num_ignored_files=unlabelled,
    )


def _open_table(path: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(open_stream(path))
    except (FileNotFoundError, InputError):
        raise
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}") from error


def _find_column(schema: pa.Schema, names: tuple[str, ...], *, what: str, path: str) -> str:
    for name in names:
        if name in schema.names:
            return name
    raise InputError(f"{path} has no column with {what} ({' or '.join(names)}); it has {', '.join(schema.names)}")


def _label_names(schema: pa.Schema, label: str) -> list[str] | None:
    raw = (schema.metadata or {}).get(b"huggingface")
    if raw is None:
        return None
    feature = json.loads(raw).get("info", {}).get("features", {}).get(label, {})
    return feature.get("names") if isinstance(feature, dict) else None


def read_parquet_row(item: SourceItem) -> bytes:
    """Returns the image bytes of one row, none where it holds none."""
    column, starts = _layout(item.path)
    group = bisect_right(starts, item.offset) - 1
    value = _read_group(item.path, group, column)[item.offset - starts[group]].as_py()
    data = value.get("bytes") if isinstance(value, dict) else value
    return data or b""


@lru_cache(maxsize=256)
def _layout(path: str) -> tuple[str, tuple[int, ...]]:
    """Returns a file's image column and the first row of each row group."""
    table = _open_table(path)
    rows = [table.metadata.row_group(group).num_rows for group in range(table.metadata.num_row_groups)]
    return _find_column(table.schema_arrow, IMAGE_COLUMNS, what="an image", path=path), (0, *accumulate(rows[:-1]))


@lru_cache(maxsize=4)
def _read_group(path: str, group: int, column: str) -> pa.ChunkedArray:
    return _open_table(path).read_row_group(group, columns=[column])[column]
