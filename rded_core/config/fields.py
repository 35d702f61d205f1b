"""Descriptions of config fields (help line, bounds, choices), and the check of values against them."""

import inspect
import re
import types
import typing
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal

from rded_core.errors import InputError


@dataclass(frozen=True, slots=True)
class Bounds:
    """Range of a number; None leaves that side open.

    Attributes:
        low: smallest allowed value.
        high: largest allowed value.
        above: whether `low` itself is excluded.
    """

    low: int | None = None
    high: int | None = None
    above: bool = False

    def holds(self, value: int | float) -> bool:
        """Returns True if a number lies within the bounds; NaN does not."""
        is_high = self.low is None or (value > self.low if self.above else value >= self.low)
        return is_high and (self.high is None or value <= self.high)

    def describe(self) -> str:
        """Returns the bounds as words after "must": ``be >= 1``, ``be > 0``, ``lie in 1..100``, ``lie in (0, 1]``."""
        if self.high is None:
            return f"be {'>' if self.above else '>='} {self.low}"
        return f"lie in ({self.low}, {self.high}]" if self.above else f"lie in {self.low}..{self.high}"


@dataclass(frozen=True, slots=True)
class Field:
    """Description of one field of a config class.

    Attributes:
        text: its line in the docstring.
        bounds: range of the number, if its type names one.
        choices: allowed names, if they are a closed set.
    """

    text: str
    bounds: Bounds | None
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
        if field.bounds and not field.bounds.holds(value):
            raise InputError(f"{name} must {field.bounds.describe()}, got {value}")


def _bounds(hint: Any) -> Bounds | None:
    """Returns the bounds in ``Annotated[int, Bounds(1)]``; None for other types."""
    notes = hint.__metadata__ if typing.get_origin(hint) is Annotated else ()
    return next((note for note in notes if isinstance(note, Bounds)), None)


def _choices(hint: Any) -> tuple[str, ...]:
    """Returns the names of ``Literal[...]`` or ``Literal[...] | None``; empty for lists of names."""
    parts = typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)
    return next((typing.get_args(part) for part in parts if typing.get_origin(part) is Literal), ())
