"""Annotated types for config fields: a number and its allowed range."""

from typing import Annotated

from rded_core.config.fields import Bounds

ABOVE_ZERO = Bounds(0, above=True)
Positive = Annotated[int, Bounds(1)]
MaybePositive = Annotated[int | None, Bounds(1)]
Seed = Annotated[int, Bounds(0)]
Side = Annotated[int, Bounds(8)]
AreaShare = Annotated[float, Bounds(0, 1, above=True)]
