"""Columns of a source's Parquet file: the image, the label, the names of its classes."""

import io
import json
from collections.abc import Generator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from rded_core.errors import InputError, first_line
from rded_core.io.formats.tables import claimed_rows
from rded_core.io.storage.remote_file import open_stream
from rded_core.io.storage.stand_ins import stand_in_at

IMAGE_COLUMNS = ("image", "img", "jpg", "png", "webp")
LABEL_COLUMNS = ("label", "labels", "fine_label", "class_id", "class_index", "cls")

FEWEST_BYTES = 24
"""A column with fewer bytes per row holds few images or none: its rows are read to find out."""


def open_table(path: str) -> pq.ParquetFile:
    """Opens a Parquet file; raises InputError if it is damaged."""
    with errors_of(path):
        stream = open_stream(path)
        table = pq.ParquetFile(stream)
        num_rows, num_bytes = claimed_rows(table.metadata), stream.seek(0, io.SEEK_END)
    if num_rows > num_bytes:  # an image takes at least a byte; missing rows would be allocated in memory
        raise InputError(f"{path} is damaged: it claims {num_rows} rows in {num_bytes} bytes; fetch it again")
    return table


@contextmanager
def errors_of(path: str) -> Generator[None]:
    """Raises InputError with the path when pyarrow fails on a damaged file; a missing file stays FileNotFoundError."""
    try:
        yield
    except (FileNotFoundError, InputError):
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        why = stand_in_at(path) or f"{first_line(error)}; fetch it again"
        raise InputError(f"{path} cannot be read as Parquet: {why}") from error


def find_column(schema: pa.Schema, names: tuple[str, ...], *, what: str, path: str) -> str:
    """Returns the first of these columns that a file has; raises InputError if it has none."""
    for name in names:
        if name in schema.names:
            return name
    raise InputError(
        f"{path} has no column with {what} ({' or '.join(names)}), it has {', '.join(schema.names)}; rename the one "
        f"with {what} to {names[0]!r}"
    )


def find_image_column(schema: pa.Schema, *, path: str) -> str:
    """Returns the column with the encoded images; raises InputError if there is none, or if it holds no bytes."""
    name = find_column(schema, IMAGE_COLUMNS, what="an image", path=path)
    kind = schema.field(name).type
    if _is_text(kind) or (pa.types.is_struct(kind) and kind.get_field_index("bytes") < 0):
        raise InputError(paths_only(path, name))
    if not _is_bytes(kind.field("bytes").type if pa.types.is_struct(kind) else kind):
        raise InputError(f"{path}: image column {name!r} holds {kind}; it must hold image bytes")
    return name


def paths_only(path: str, column: str) -> str:
    """Returns the error for an image column that holds where the images are, but not their bytes."""
    return (
        f"{path}: image column {column!r} holds paths without the images' bytes; give the folder of the images, or "
        "write the table with their bytes (dataset.push_to_hub embeds them)"
    )


def _is_text(kind: pa.DataType) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value)


def _is_bytes(kind: pa.DataType) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = (
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_binary_view,
        pa.types.is_fixed_size_binary,
        pa.types.is_null,  # all rows are empty
    )
    return any(test(value) for test in tests)


def holds_images(table: pq.ParquetFile, column: str) -> bool:
    """Whether any row has image bytes, from the statistics of the file if they say so."""
    return any(_group_holds_images(table, group, column) for group in range(table.num_row_groups))


def _group_holds_images(table: pq.ParquetFile, group: int, column: str) -> bool:
    described = table.metadata.row_group(group)
    chunks = [described.column(number) for number in range(described.num_columns)]
    chunk = next((each for each in chunks if each.path_in_schema in (column, f"{column}.bytes")), None)
    if chunk is None:
        return True
    if chunk.statistics is not None and chunk.statistics.has_null_count:
        return chunk.statistics.null_count < described.num_rows
    if chunk.total_uncompressed_size >= FEWEST_BYTES * described.num_rows:
        return True
    values = table.read_row_group(group, columns=[chunk.path_in_schema])[column]
    return any(image_of(value.as_py()) for value in values)


def image_of(value: object) -> bytes:
    """Returns the image bytes of a cell; empty if it holds none."""
    data: object = value.get("bytes") if isinstance(value, dict) else value  # pyright: ignore[reportUnknownMemberType]
    return data if isinstance(data, bytes) else b""


def find_label_names(schema: pa.Schema, label: str) -> list[str] | None:
    """Returns the class names in the Hugging Face metadata, or None if it is missing or has a different form."""
    try:
        names = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return names if names and isinstance(names, list) and all(isinstance(name, str) for name in names) else None
