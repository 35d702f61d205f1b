"""A codec's tensors as columns of a table, and back, without needless copies."""

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from rded_core.labels.codecs import Encoded

_NUMBERS = {
    torch.float16: pa.float16(),
    torch.float32: pa.float32(),
    torch.int16: pa.int16(),
    torch.int32: pa.int32(),
}


def to_array(part: Tensor) -> pa.Array:
    """Returns one column: numbers, lists of equal length, or, for uint8, byte strings of equal length."""
    kind, flat = _type_of(part), part.contiguous().numpy().reshape(-1)
    if pa.types.is_fixed_size_binary(kind):
        return pa.Array.from_buffers(kind, len(part), [None, pa.py_buffer(flat)])
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(pa.array(flat, type=kind.value_type), type=kind)
    return pa.array(flat, type=kind)


def read_columns(table: pa.Table, names: list[str]) -> Encoded:
    """Returns columns as tensors, which the caller owns.

    Raises:
        KeyError: a column does not exist.
        ValueError: a value is missing.
    """
    return {name: _to_tensor(table[name].combine_chunks()) for name in names}


def is_alike(actual: pa.DataType, expected: pa.DataType) -> bool:
    """Returns True if a column of one type can be read as the other; the names of list elements may differ."""
    if pa.types.is_fixed_size_list(actual) and pa.types.is_fixed_size_list(expected):
        return (actual.value_type, actual.list_size) == (expected.value_type, expected.list_size)
    return actual == expected


def _type_of(part: Tensor) -> pa.DataType:
    if part.ndim == 1:
        return _NUMBERS[part.dtype]
    if part.dtype == torch.uint8:
        return pa.binary(part.shape[1])
    return pa.list_(pa.field("element", _NUMBERS[part.dtype], nullable=False), part.shape[1])


def _to_tensor(column: pa.Array) -> Tensor:
    if column.null_count:
        raise ValueError(f"{column.null_count} values are missing")
    if pa.types.is_fixed_size_binary(column.type):
        width = column.type.byte_width
        data = np.frombuffer(column.buffers()[1], np.uint8, len(column) * width, column.offset * width)
        return torch.from_numpy(data.reshape(len(column), width).copy())
    if pa.types.is_fixed_size_list(column.type):
        flat = column.flatten().to_numpy(zero_copy_only=True)
        return torch.from_numpy(flat.reshape(len(column), column.type.list_size).copy())
    return torch.from_numpy(column.to_numpy(zero_copy_only=False).copy())
