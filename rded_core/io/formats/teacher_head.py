"""The teacher's last layer, which labels stored as features need: one row per class."""

from pathlib import Path

import pyarrow as pa
import torch
from torch import Tensor

from rded_core.errors import InputError
from rded_core.io.formats.label_columns import read_columns, to_array
from rded_core.io.formats.tables import open_table, write_tables
from rded_core.io.layout.dataset import REMEDY
from rded_core.io.storage.stand_ins import reason_or_pointer


def write_head(path: Path, weight: Tensor, bias: Tensor) -> None:
    """Writes weight ``[k, d]`` and bias ``[k]`` as float32, rows in class order."""
    columns = [pa.array(range(len(bias)), type=pa.int32()), to_array(weight.float()), to_array(bias.float())]
    table = pa.table(columns, names=["class_index", "weight", "bias"])
    write_tables(path, [table], table.schema, noise_columns=("weight",))


def read_head(path: Path) -> tuple[Tensor, Tensor]:
    """Reads weight and bias.

    Raises:
        InputError: the table is missing or damaged.
    """
    try:
        with open_table(path) as opened:
            columns = read_columns(opened.read(), ["weight", "bias"])
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {reason_or_pointer(path, error, REMEDY)}") from error
    weight, bias = columns["weight"], columns["bias"]
    if weight.dtype != torch.float32 or weight.ndim != 2 or bias.shape != weight.shape[:1]:
        raise InputError(f"{path} does not hold a layer's weight and bias; {REMEDY}")
    return weight, bias
