"""Parquet tables: column names and types of the product, round trips, determinism, damage."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rded_core.errors import InputError
from rded_core.io.formats.schemas import CANDIDATES, INDEX, LINEAGE, SCORES, SELECTED, codec_schema, soft_label_schema
from rded_core.io.formats.tables import iterate_rows, open_table, read_rows, write_columns, write_rows, write_tables

_BOX = ("top", "left", "height", "width")
LINEAGE_COLUMNS = {
    "key": "string",
    "quadrant": "int8",
    "class_index": "int32",
    "rank": "int32",
    "source_uri": "string",
    "source_sha256": "string",
    **{f"box_{side}": "int32" for side in _BOX},
    "score_nats": "float",
}
SOFT_LABEL_COLUMNS = {
    "epoch": "int32",
    "batch": "int32",
    "position": "int32",
    "key": "string",
    "class_index": "int32",
    "column_order": "list<item: uint8>",
    "row_order": "list<item: uint8>",
    **{f"crop_{side}": "int32" for side in _BOX},
    "flip": "bool",
    "mix_position": "int32",
    **{f"mix_{side}": "int32" for side in _BOX},
    "mix_weight": "float",
    "logits": "fixed_size_list<element: halffloat not null>[7]",
}


def columns(schema: pa.Schema) -> dict[str, str]:
    return {field.name: str(field.type) for field in schema}


def row_of(schema: pa.Schema, number: int) -> dict[str, Any]:
    """Returns one row that differs from the next in every column."""
    values: dict[str, Any] = {
        "string": f"text {number}",
        "bool": number % 2 == 0,
        "float": -0.5 * number,
        "list<item: int32>": [number, number + 1],
        "list<item: float>": [0.25 * number, -1.5],
    }
    return {field.name: values.get(str(field.type), number) for field in schema}


def test_lineage_columns_are_as_documented() -> None:
    assert columns(LINEAGE) == LINEAGE_COLUMNS
    assert list(columns(LINEAGE)) == list(LINEAGE_COLUMNS)


def test_soft_label_columns_are_as_documented() -> None:
    schema = soft_label_schema(codec_schema("float16", num_classes=7))
    assert columns(schema) == SOFT_LABEL_COLUMNS
    assert list(columns(schema)) == list(SOFT_LABEL_COLUMNS)
    assert not schema.field("logits").type.value_field.nullable


def test_selected_rows_hold_their_lineage() -> None:
    assert set(LINEAGE.names) - set(SELECTED.names) == {"key", "class_index"}


@pytest.mark.parametrize("schema", [INDEX, CANDIDATES, SCORES, LINEAGE, SELECTED])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_rows_round_trip(tmp_path: Path, schema: pa.Schema, count: int) -> None:
    rows = [row_of(schema, number) for number in range(count)]
    write_rows(tmp_path / "t.parquet", rows, schema)
    assert read_rows(tmp_path / "t.parquet", schema) == rows
    stored = pq.read_schema(tmp_path / "t.parquet")
    assert stored.equals(schema, check_metadata=False)


def test_scores_of_controls_are_null(tmp_path: Path) -> None:
    row = {**row_of(LINEAGE, 1), "score_nats": None}
    write_rows(tmp_path / "t.parquet", [row], LINEAGE)
    assert read_rows(tmp_path / "t.parquet", LINEAGE) == [row]


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    rows = [row_of(SCORES, number) for number in range(20)]
    write_rows(tmp_path / "a.parquet", rows, SCORES)
    write_rows(tmp_path / "b.parquet", [dict(reversed(row.items())) for row in rows], SCORES)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_each_table_is_one_row_group_with_metadata_as_json(tmp_path: Path) -> None:
    tables = [pa.Table.from_pylist([row_of(LINEAGE, n) for n in range(count)], schema=LINEAGE) for count in (3, 1, 2)]
    write_tables(tmp_path / "t.parquet", tables, LINEAGE, metadata={"seed": 5})
    opened = pq.ParquetFile(tmp_path / "t.parquet")
    assert [opened.metadata.row_group(group).num_rows for group in range(opened.num_row_groups)] == [3, 1, 2]
    assert json.loads(opened.schema_arrow.metadata[b"rded"]) == {"schema_version": 1, "seed": 5}
    assert opened.metadata.row_group(0).column(0).compression == "ZSTD"


@pytest.mark.parametrize("damage", ["missing", "truncated", "text", "empty"])
def test_tables_that_cannot_be_read_are_errors(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "t.parquet"
    write_rows(path, [row_of(LINEAGE, 1)], LINEAGE)
    contents = {"truncated": path.read_bytes()[:-30], "text": b"not a table", "empty": b""}
    path.unlink()
    if damage in contents:
        path.write_bytes(contents[damage])
    message = r"t\.parquet cannot be read: .*; delete it to have it recreated"
    if damage == "missing":
        message = r"cannot read .*t\.parquet: No such file or directory; .*run the same command again"
    with pytest.raises(InputError, match=message):
        read_rows(path, LINEAGE)


def test_a_missing_column_is_an_error(tmp_path: Path) -> None:
    write_rows(tmp_path / "t.parquet", [row_of(INDEX, 1)], INDEX)
    with pytest.raises(InputError, match="cannot be read"):
        read_rows(tmp_path / "t.parquet", CANDIDATES)


def test_fewer_columns_may_be_read(tmp_path: Path) -> None:
    row = row_of(CANDIDATES, 3)
    write_rows(tmp_path / "t.parquet", [row], CANDIDATES)
    fewer = pa.schema([field for field in CANDIDATES if field.name != "path"])
    assert read_rows(tmp_path / "t.parquet", fewer) == [{name: row[name] for name in fewer.names}]


def test_columns_give_the_bytes_of_the_same_rows(tmp_path: Path) -> None:
    rows = [row_of(INDEX, number) for number in range(7)]
    write_rows(tmp_path / "rows.parquet", rows, INDEX)
    write_columns(tmp_path / "columns.parquet", {name: [row[name] for row in rows] for name in INDEX.names}, INDEX)
    assert (tmp_path / "columns.parquet").read_bytes() == (tmp_path / "rows.parquet").read_bytes()


@pytest.mark.parametrize("together", [1, 2, 100])
def test_rows_are_yielded_in_order(tmp_path: Path, together: int) -> None:
    rows = [row_of(INDEX, number) for number in range(11)]
    write_rows(tmp_path / "t.parquet", rows, INDEX)
    assert list(iterate_rows(tmp_path / "t.parquet", INDEX, together=together)) == rows


def test_a_relative_path_with_a_colon_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run-10:30").mkdir()
    table = Path("run-10:30/table.parquet")
    write_columns(table, {"a": [1, 2]}, pa.schema([("a", pa.int32())]))
    with open_table(table) as opened:
        assert opened.read()["a"].to_pylist() == [1, 2]
