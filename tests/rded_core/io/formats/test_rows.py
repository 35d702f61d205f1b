"""Typed rows have the columns of their schemas."""

from typing import Any

import pyarrow as pa
import pytest

from rded_core.io.formats import rows, schemas

PYTHON_TYPES = {
    str: pa.types.is_string,
    bool: pa.types.is_boolean,
    int: pa.types.is_integer,
    float: pa.types.is_floating,
}


def _fits(column: pa.DataType, hint: Any) -> bool:
    if hint in (list[int], list[float]):
        return pa.types.is_list(column) and _fits(column.value_type, hint.__args__[0])
    kinds = [kind for kind in getattr(hint, "__args__", (hint,)) if kind is not type(None)]
    return len(kinds) == 1 and PYTHON_TYPES[kinds[0]](column)


@pytest.mark.parametrize(
    ("row", "schema"),
    [
        (rows.IndexRow, schemas.INDEX),
        (rows.CandidateRow, schemas.CANDIDATES),
        (rows.ScoreRow, schemas.SCORES),
        (rows.SelectedRow, schemas.SELECTED),
        (rows.LineageRow, schemas.LINEAGE),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_rows_mirror_their_schema(row: Any, schema: pa.Schema) -> None:
    stored = {name: hint for name, hint in row.__annotations__.items() if name in row.__required_keys__}
    assert stored.keys() == set(schema.names)
    for name, hint in stored.items():
        assert _fits(schema.field(name).type, hint), name
