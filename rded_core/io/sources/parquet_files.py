"""A folder of Hugging Face style Parquet files: one image and one label per row."""

import io
import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rded_core.errors import InputError, first_line
from rded_core.io.formats.tables import claimed_rows
from rded_core.io.sources.base import Source, SourceItem, name_classes
from rded_core.io.sources.splits import files_of_split
from rded_core.io.storage.remote_file import open_stream
from rded_core.io.storage.urls import join_path, stamp_of

IMAGE_COLUMNS = ("image", "img", "jpg", "png", "webp")
LABEL_COLUMNS = ("label", "labels", "fine_label", "class_id", "class_index", "cls")


def open_parquet_files(root: str, tables: list[str], *, split: str) -> Source:
    """Opens Parquet files with an image column (bytes, or a struct with ``bytes``) and a label column.

    Class names come from the Hugging Face metadata if present; otherwise integer labels stand for themselves and
    text labels are sorted. Files whose names begin with another split's (``test-00000-of-00001.parquet``) are left out.

    Raises:
        InputError: a column is missing or unusable, no row has a label, or a file is damaged.
    """
    chosen = files_of_split(tables, split)
    first = join_path(root, chosen[0])
    schema = _open_table(first).schema_arrow
    image = schema.field(_find_column(schema, IMAGE_COLUMNS, what="an image", path=first))
    if not (pa.types.is_binary(image.type) or pa.types.is_large_binary(image.type) or pa.types.is_struct(image.type)):
        raise InputError(f"{first}: image column {image.name!r} holds {image.type}; it must hold image bytes")
    label = _find_column(schema, LABEL_COLUMNS, what="a label", path=first)
    if pa.types.is_nested(schema.field(label).type):
        raise InputError(
            f"{first}: label column {label!r} holds {schema.field(label).type}; it must hold numbers or text"
        )
    names = _label_names(schema, label)
    by_label: defaultdict[Any, list[SourceItem]] = defaultdict(list)
    unlabelled = 0
    for relative in chosen:
        path = join_path(root, relative)
        table, stamp = _open_table(path), stamp_of(path)
        num_bytes = sum(table.metadata.row_group(group).total_byte_size for group in range(table.num_row_groups))
        _find_column(table.schema_arrow, (label,), what="a label", path=path)
        with _errors_of(path):
            values = table.read(columns=[label])[label].to_pylist()
        for row, value in enumerate(values):
            if value is None or value == -1:  # "no label" on the Hub
                unlabelled += 1
            else:
                by_label[value].append(SourceItem(f"{relative}#{row:08d}", path, row, num_bytes, stamp=stamp))
    if not by_label:
        raise InputError(f"{root}: no row has a label in column {label!r}")
    if len(kinds := {type(value).__name__ for value in by_label}) > 1:
        raise InputError(f"{root}: labels have several types ({', '.join(sorted(kinds))}); use one type")
    labels = sorted(by_label)
    return Source(
        spec=root,
        classes=name_classes([_folder_of(value, names, path=first) for value in labels]),
        items=tuple(tuple(by_label[value]) for value in labels),
        num_ignored_files=unlabelled,
    )


def _open_table(path: str) -> pq.ParquetFile:
    with _errors_of(path):
        stream = open_stream(path)
        table = pq.ParquetFile(stream)
        num_rows, num_bytes = claimed_rows(table.metadata), stream.seek(0, io.SEEK_END)
    if num_rows > num_bytes:  # an image takes at least a byte; missing rows would be allocated in memory
        raise InputError(f"{path} is damaged: it claims {num_rows} rows in {num_bytes} bytes; fetch it again")
    return table


@contextmanager
def _errors_of(path: str) -> Generator[None]:
    """Raises InputError with the path when pyarrow fails on a damaged file; a missing file stays FileNotFoundError."""
    try:
        yield
    except (FileNotFoundError, InputError):
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as Parquet: {first_line(error)}; fetch it again") from error


def _find_column(schema: pa.Schema, names: tuple[str, ...], *, what: str, path: str) -> str:
    for name in names:
        if name in schema.names:
            return name
    raise InputError(f"{path} has no column with {what} ({' or '.join(names)}); it has {', '.join(schema.names)}")


def _label_names(schema: pa.Schema, label: str) -> list[str] | None:
    """Returns the class names in the Hugging Face metadata, or None if it is missing or has a different form."""
    try:
        names = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def _folder_of(label: Any, names: list[str] | None, *, path: str) -> str:
    if not names or not isinstance(label, int):
        return str(label)
    if not 0 <= label < len(names):
        raise InputError(f"{path}: label {label} is not one of the {len(names)} classes in its metadata")
    return names[label]


def read_parquet_row(item: SourceItem) -> bytes:
    """Returns the image bytes of one row; empty if it holds none."""
    column, starts = _layout(item.path)
    group = bisect_right(starts, item.offset) - 1
    rows = _read_group(item.path, group, column)
    if item.offset - starts[group] >= len(rows):
        raise EOFError(f"{item.path} has no row {item.offset}")
    value = rows[item.offset - starts[group]].as_py()
    data = value.get("bytes") if isinstance(value, dict) else value
    return data if isinstance(data, bytes) else b""


@lru_cache(maxsize=256)
def _layout(path: str) -> tuple[str, tuple[int, ...]]:
    """Returns a file's image column and the first row of each row group."""
    table = _open_table(path)
    rows = [table.metadata.row_group(group).num_rows for group in range(table.metadata.num_row_groups)]
    return _find_column(table.schema_arrow, IMAGE_COLUMNS, what="an image", path=path), (0, *accumulate(rows[:-1]))


@lru_cache(maxsize=4)
def _read_group(path: str, group: int, column: str) -> pa.ChunkedArray:
    with _errors_of(path):
        return _open_table(path).read_row_group(group, columns=[column])[column]
