"""Annotated types for config fields: a number and its allowed range."""

from typing import Annotated

from annotated_types import Ge, Gt, Interval

Positive = Annotated[int, Ge(1)]
MaybePositive = Annotated[int, Ge(1)] | None
PositiveFloat = Annotated[float, Gt(0)]
MaybePositiveFloat = Annotated[float, Gt(0)] | None
Seed = Annotated[int, Ge(0)]
Side = Annotated[int, Ge(8)]
AreaShare = Annotated[float, Interval(gt=0, le=1)]
