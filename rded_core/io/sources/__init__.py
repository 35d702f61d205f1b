"""A spec string becomes classes and items: folders, tars, Parquet files, torchvision sets, URLs."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rded_core.io.sources.reading import read_item
    from rded_core.io.sources.spec import open_source

__all__ = ["open_source", "read_item"]

_HOMES = {"open_source": "rded_core.io.sources.spec", "read_item": "rded_core.io.sources.reading"}
"""Names that scripts import from here; imported at their first use, so that torch-free modules stay so."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
