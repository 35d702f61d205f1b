"""Faults in the rows of a soft-label table."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa


def label_faults(table: pa.Table, own: pa.Schema) -> Iterator[str]:
    """Yields a fault if labels, which are stored in the columns of `own`, are not finite."""
    if not all(np.isfinite(column_numbers(table, field.name)).all() for field in own if _is_float(field.type)):
        yield "labels that are not finite"


def view_faults(table: pa.Table, *, factor: int, size: int) -> Iterator[str]:
    """Yields each view parameter that is impossible for images of `factor` squared cells and `size` px."""
    batch, position = column_numbers(table, "batch"), column_numbers(table, "position")
    _, first, sizes = np.unique(batch, return_index=True, return_counts=True)
    if (np.diff(batch) < 0).any() or (position != np.arange(len(batch)) - np.repeat(first, sizes)).any():
        yield "rows that are not sorted by batch and position"
        return
    mix = column_numbers(table, "mix_position")
    if (mix < 0).any() or (mix >= np.repeat(sizes, sizes)).any():
        yield "a partner outside its batch"
    for name in ("column_order", "row_order"):
        order = column_numbers(table, name).reshape(-1, factor)
        if len(order) != table.num_rows or (np.sort(order, axis=1) != np.arange(factor)).any():
            yield f"a {name} that is not a permutation of {factor} cells"
    for box in ("crop", "mix"):
        for start, length in (("top", "height"), ("left", "width")):
            low, extent = column_numbers(table, f"{box}_{start}"), column_numbers(table, f"{box}_{length}")
            if (low < 0).any() or (extent < (box == "crop")).any() or (low + extent > size).any():
                yield f"a {box} box outside the image"


def _is_float(kind: pa.DataType) -> bool:
    """Returns True if a column holds floats, or lists of them."""
    return pa.types.is_floating(kind.value_type if pa.types.is_fixed_size_list(kind) else kind)


def column_numbers(table: pa.Table, name: str) -> np.ndarray:
    """Returns a column, or the elements of a column of lists, as an array."""
    column = table[name].combine_chunks()
    is_list = pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)
    return np.asarray((column.flatten() if is_list else column).to_numpy(zero_copy_only=False))
