"""Descriptions of config fields (help line, bounds, choices), and the check of values against them."""

import inspect
import re
import types
import typing
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval

from rded_core.errors import InputError


@dataclass(frozen=True, slots=True)
class Field:
    """Description of one field of a config class.

    Attributes:
        text: its line in the docstring.
        bounds: range of the number, if its type names one (`annotated_types`).
        choices: allowed names, if they are a closed set.
    """

    text: str
    bounds: Interval | None
    choices: tuple[str, ...]


def field_help(config_class: type) -> dict[str, str]:
    """Returns the ``Attributes`` section of a config's docstring as field name to help line."""
    entries = re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)$", inspect.getdoc(config_class) or "", flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


@lru_cache
def describe_fields(config_class: type) -> dict[str, Field]:
    """Returns the description of each field of a config class, by name."""
    texts = field_help(config_class)
    hints = typing.get_type_hints(config_class, include_extras=True)
    return {name: Field(texts.get(name, ""), _bounds(hint), _choices(hint)) for name, hint in hints.items()}


def check_fields(config: Any) -> None:
    """Raises InputError if a field's value is out of bounds or not one of its choices; None passes."""
    for name, field in describe_fields(type(config)).items():
        value = getattr(config, name)
        if value is None:
            continue
        if field.choices and value not in field.choices:
            raise InputError(f"{name} must be one of {', '.join(field.choices)}; got {value!r}")
        if field.bounds and not lies_within(value, field.bounds):
            raise InputError(f"{name} must {describe_bounds(field.bounds)}, got {value}")


def lies_within(value: Any, bounds: Interval) -> bool:
    """Returns True if a number lies within the bounds; NaN does not."""
    is_high = (bounds.gt is None or value > bounds.gt) and (bounds.ge is None or value >= bounds.ge)
    return is_high and (bounds.le is None or value <= bounds.le)


def describe_bounds(bounds: Interval) -> str:
    """Returns the bounds as words after "must": ``be >= 1``, ``be > 0``, ``be in 1..100``, ``be in (0, 1]``."""
    if bounds.le is None:
        return f"be > {bounds.gt}" if bounds.ge is None else f"be >= {bounds.ge}"
    return f"be in {bounds.ge}..{bounds.le}" if bounds.gt is None else f"be in ({bounds.gt}, {bounds.le}]"


def _bounds(hint: Any) -> Interval | None:
    """Returns the bounds of ``Annotated[int, Ge(1)]`` or ``Annotated[int, Ge(1)] | None``; None for other types."""
    for part in _parts(hint):
        for note in part.__metadata__ if typing.get_origin(part) is Annotated else ():
            if isinstance(note, Interval):
                return note
            if isinstance(note, Ge | Gt):
                return Interval(ge=note.ge) if isinstance(note, Ge) else Interval(gt=note.gt)
    return None


def _parts(hint: Any) -> tuple[Any, ...]:
    """Returns the members of a union; any other type alone."""
    return typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)


def _choices(hint: Any) -> tuple[str, ...]:
    """Returns the names of ``Literal[...]`` or ``Literal[...] | None``; empty for lists of names."""
    return next((typing.get_args(part) for part in _parts(hint) if typing.get_origin(part) is Literal), ())
