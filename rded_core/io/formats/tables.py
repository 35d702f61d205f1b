"""Parquet tables: reading and writing rows, columns and whole tables."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rded_core.errors import InputError, first_line
from rded_core.io.formats.schemas import SCHEMA_VERSION
from rded_core.io.parallel import map_ordered
from rded_core.io.storage.atomic import write_atomically
from rded_core.io.storage.files import REMEDY, reason_of

MAX_ROWS_PER_BYTE = 1000
"""Limit far above what any table of ours compresses to: keys differ from row to row."""


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> None:
    """Writes rows as one zstd-compressed Parquet file, atomically; same rows, same bytes."""
    write_tables(path, [pa.Table.from_pylist([dict(row) for row in rows], schema=schema)], schema)


def write_columns(path: Path, columns: Mapping[str, Sequence[Any]], schema: pa.Schema) -> None:
    """Writes columns as `write_rows` writes rows: the same bytes, without one object per row."""
    write_tables(path, [pa.table(dict(columns), schema=schema)], schema)


def write_tables(
    path: Path,
    tables: Iterable[pa.Table],
    schema: pa.Schema,
    *,
    metadata: Mapping[str, Any] | None = None,
    noise_columns: Sequence[str] = (),
    statistics: Sequence[str] | None = None,
) -> None:
    """Writes each table as one row group of a Parquet file, with `metadata` as JSON under the key ``rded``.

    Tables are taken one by one and written in a separate thread while the next is made; at most four are in memory.
    `noise_columns` hold numbers that hardly repeat: they get no dictionary and no statistics, which take most of the
    time of writing them. `statistics` names the columns whose minimum and maximum each row group stores, by default
    all others: in small row groups they take a tenth of the file.
    """
    described = {"schema_version": SCHEMA_VERSION, **(metadata or {})}
    full = schema.with_metadata({"rded": json.dumps(described, sort_keys=True)})
    described_columns = [_parquet_path(field) for field in full if field.name not in noise_columns]
    dictionary_columns: Any = described_columns if noise_columns else True
    statistics_columns: Any = dictionary_columns if statistics is None else list(statistics)

    def write(temporary: Path) -> None:
        with pq.ParquetWriter(
            temporary.absolute(),  # pyarrow takes a relative path with a colon for a URI
            full,
            compression="zstd",
            compression_level=3,
            write_page_checksum=True,
            use_dictionary=dictionary_columns,
            write_statistics=statistics_columns,
        ) as writer:

            def write_group(table: pa.Table) -> None:
                writer.write_table(table.cast(full), row_group_size=max(table.num_rows, 1))

            for _ in map_ordered(write_group, tables, workers=1):
                pass

    write_atomically(path, write)


def _parquet_path(field: pa.Field) -> str:
    """Returns a column's name inside Parquet, in which the elements of a list have a name of their own."""
    nested = pa.types.is_list(field.type) or pa.types.is_fixed_size_list(field.type)
    return f"{field.name}.list.element" if nested else field.name


def read_rows(path: Path, schema: pa.Schema) -> list[Any]:
    """Reads the columns of `schema` as a list of rows.

    Raises:
        InputError: the file is missing or damaged, or lacks a column.
    """
    return _read_table(path, schema.names).to_pylist()


def iterate_rows(path: Path, schema: pa.Schema, *, together: int = 256) -> Iterator[Any]:
    """Yields the rows of a table in stored order.

    Rows become objects `together` at a time, so that a caller who stops early pays for few.

    Raises:
        InputError: as `read_rows`.
    """
    for batch in _read_table(path, schema.names).to_batches(max_chunksize=together):
        yield from batch.to_pylist()


def find_rows(path: Path, schema: pa.Schema, wanted: Mapping[str, Collection[str]]) -> list[Any]:
    """Returns the rows in which any column of `wanted` holds one of the values given for it.

    Raises:
        InputError: as `read_rows`.
    """
    table = _read_table(path, schema.names)
    hits = [pc.field(name).isin(pa.array(sorted(values), pa.string())) for name, values in wanted.items()]
    return table.filter(reduce(or_, hits)).to_pylist()


def _read_table(path: Path, columns: list[str]) -> pa.Table:
    """Reads columns of one file; `pq.read_table` would look for a dataset of many files first, which takes longer."""
    try:
        with open_table(path) as opened:
            table = opened.read(columns=columns).select(columns)
            if table.num_rows != claimed_rows(opened.metadata):
                raise pa.ArrowInvalid(f"it has {table.num_rows} of {claimed_rows(opened.metadata)} rows")
            return table
    except (pa.ArrowException, OSError, KeyError) as error:
        if isinstance(error, OSError) and error.errno:
            raise InputError(f"cannot read {path}: {reason_of(error)}; {REMEDY}") from error
        raise InputError(f"{path} cannot be read: {first_line(error)}; delete it to have it recreated") from error


def open_table(path: Path) -> pq.ParquetFile:
    """Opens a Parquet file of ours, with page checksums verified as pages are read.

    Raises:
        pa.ArrowInvalid: it is damaged, or claims more rows than its bytes can hold: pyarrow would allocate them.
    """
    opened = pq.ParquetFile(path.absolute(), page_checksum_verification=True)
    num_rows = claimed_rows(opened.metadata)
    if num_rows > MAX_ROWS_PER_BYTE * path.stat().st_size:
        opened.close()
        raise pa.ArrowInvalid(f"its footer claims {num_rows} rows, more than its size allows")
    return opened


def table_metadata(opened: pq.ParquetFile) -> dict[str, Any]:
    """Returns the metadata that rded stored in a table; empty if it is missing."""
    return json.loads((opened.schema_arrow.metadata or {}).get(b"rded", b"{}"))


def claimed_rows(metadata: pq.FileMetaData) -> int:
    """Returns the largest row count that a footer claims, in total or summed by group; if damaged, they differ."""
    groups = (metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
    return max(metadata.num_rows, sum(max(count, 0) for count in groups))
