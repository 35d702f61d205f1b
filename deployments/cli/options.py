"""Command-line options made from a config class: one flag per field, with the field's docstring line as its help."""

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any

import typer

from rded_core.config.fields import field_help
from rded_core.errors import InputError

ALIASES: dict[str, list[str]] = {"out": ["-o"], "config": ["-c"]}


def with_options(
    config_class: type,
    *,
    positional: str,
    run: Callable[[dict[str, Any]], None],
    extra: dict[str, Any] | None = None,
    extra_fields: type | None = None,
) -> Callable[..., None]:
    """Returns the function that typer turns into a command.

    Args:
        config_class: the dataclass whose fields are the flags.
        positional: the field that is an argument instead.
        run: called with only the fields the user gave.
        extra: further options that are not fields, name to annotation.
        extra_fields: a second dataclass whose fields are flags too.
    """
    parameters = [_argument(positional, field_help(config_class)[positional], required=not extra)]
    for described in filter(None, (config_class, extra_fields)):
        helps, hints = field_help(described), typing.get_type_hints(described)
        flags = [field for field in dataclasses.fields(described) if field.name != positional]
        parameters += [_option(field, hints[field.name], helps[field.name]) for field in flags]
    parameters += [_parameter(name, annotation) for name, annotation in (extra or {}).items()]

    def command(**given: Any) -> None:
        run({name: _one_or_all(value) for name, value in given.items() if value not in (None, [])})

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def _one_or_all(value: Any) -> Any:
    """Returns the only value of a repeatable flag, as text that may be a comma-separated list, or all its values."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def coerce_fields(config_class: type, given: dict[str, Any], *, origin: str) -> dict[str, Any]:
    """Returns values from flags or a JSON file, converted to the types of their fields.

    Comma-separated text becomes a tuple if the field is one (``none`` is the empty tuple
    if the names are a closed set); lists become tuples.

    Raises:
        InputError: a value's type differs from its field's, or it is empty, usually from an unset shell variable.
    """
    hints = typing.get_type_hints(config_class)
    blank = [name for name, value in given.items() if isinstance(value, str) and not value.strip()]
    if texts := [name for name in blank if not _is_tuple(hints[name])]:
        raise InputError(f"{origin}: {texts[0]} is empty; give a value, or leave it out")
    return {name: _coerce(name, value, hints[name], origin=origin) for name, value in given.items()}


KIND_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text", tuple: "a list of names"}


def _coerce(name: str, value: Any, hint: Any, *, origin: str) -> Any:
    if value is None and type(None) in typing.get_args(hint):
        return None
    kind = tuple if _is_tuple(hint) else _flag_type(hint)
    if kind is tuple and isinstance(value, str):
        if value.strip() == "none" and typing.get_args(_element(hint)):  # the names are a closed set
            return ()
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if kind is tuple and isinstance(value, list | tuple) and all(isinstance(part, str) for part in value):
        is_closed = bool(typing.get_args(_element(hint)))
        return tuple(part.strip() for text in value for part in text.split(",")) if is_closed else tuple(value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise InputError(f"{origin}: {name} must be {KIND_NAMES[kind]}, got {value!r}")
    return value


def _argument(name: str, text: str, *, required: bool) -> inspect.Parameter:
    """Makes the positional argument, which is optional if a config file may give it instead."""
    option = typer.Argument(help=_sentence(text), metavar=name.upper(), show_default=False)
    if required:
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[str, option])
    return _parameter(name, Annotated[str | None, option])


def _option(field: "dataclasses.Field[Any]", hint: Any, text: str) -> inspect.Parameter:
    flag = "--" + field.name.replace("_", "-")
    if hint is bool:
        names = [flag if field.default is False else f"{flag}/--no-{flag[2:]}"]
    else:
        names = [flag, *ALIASES.get(field.name, [])]
    metavar = "" if hint is bool else _metavar(hint)
    parser = _parse_share if _flag_type(hint) is float else None
    option = typer.Option(
        *names, help=_sentence(text) + _default_note(field), show_default=False, metavar=metavar, parser=parser
    )
    kind = list[str] if _is_tuple(hint) else _flag_type(hint)
    return _parameter(field.name, Annotated[kind | None, option])


def _parse_share(text: str) -> float:
    """Reads a number; ``1%`` is 0.01."""
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a number") from error


def _default_note(field: "dataclasses.Field[Any]") -> str:
    if field.default is dataclasses.MISSING:
        return " (required)"
    if field.default is None or field.default is False or field.default == ():
        return ""
    if field.default is True:
        return f" (default --{field.name.replace('_', '-')})"
    return f" (default {','.join(field.default) if isinstance(field.default, tuple) else field.default})"


def _parameter(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _plain_type(hint: Any) -> Any:
    """Returns a type hint without ``| None``, in either form (``Literal[...] | None`` is a ``typing.Union``)."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return next(part for part in typing.get_args(hint) if part is not type(None))
    return hint


def _is_tuple(hint: Any) -> bool:
    return typing.get_origin(_plain_type(hint)) is tuple


def _element(hint: Any) -> Any:
    """Returns the type of a tuple field's elements."""
    return typing.get_args(_plain_type(hint))[0]


def _flag_type(hint: Any) -> type:
    plain = _plain_type(hint)
    return plain if plain in (int, float, bool) else str


def _metavar(hint: Any) -> str:
    plain = _plain_type(hint)
    if typing.get_origin(plain) is typing.Literal:
        return "|".join(typing.get_args(plain))
    if _is_tuple(hint):
        return ",".join(typing.get_args(_element(hint))) or "A,B"
    return {int: "N", float: "X"}.get(plain, "TEXT")
