"""One rule for labels, however they are stored: ``.cls`` files, fields of ``.json`` files and Parquet columns."""

import re
from collections.abc import Mapping
from decimal import Decimal
from math import inf

from rded_core.errors import InputError

Label = int | str
"""A class number, or a class name."""

NO_LABEL = frozenset({"", "nan", "NaN", "Nan", "NAN", "None", "null", "Null", "NULL", "<NA>", "<na>", "-1"})
"""Texts that mean "no label", as pandas, Ray Data, img2dataset and JSON writers put them; ``none`` may be a class."""

SHORT_DIGITS = 9
"""Digits up to which a number may begin with zeros; longer ones that do are taken for identifiers."""

MOST_DIGITS = 640
"""Digits that ``int`` reads in every setting of Python."""

WHOLE_FLOAT = re.compile(r"[+-]?\d{1,18}\.0*", re.ASCII)
OTHER_NUMBER = re.compile(r"-\d+|[+-]?\d*\.\d+", re.ASCII)
NESTED = re.compile(r"\[.*\]|\{.*\}", re.DOTALL)


def read_label(value: object) -> Label | None:
    """Returns a stored label as a number or as text, or None if it says that there is no label.

    Whole floats are integers, also as text (``3.0`` is 3). None, NaN, -1, empty text and the texts in `NO_LABEL` mean
    "no label". Bytes are UTF-8 text. Text of digits stays text: see `unify_labels`.

    Raises:
        ValueError: the label is a list, a negative number, not whole, or otherwise unexpected; the message says how to
            write it.
    """
    if isinstance(value, bytes):
        value = _decode(value)
    if isinstance(value, str):
        return _read_text(value.strip())
    if value is None or isinstance(value, bool):
        return None if value is None else str(value)
    if isinstance(value, int | float | Decimal):
        return _read_number(value)
    raise ValueError(f"label {_shortened(value)} is a {type(value).__name__}; write one number or one name per image")


def read_label_at(value: object, place: str) -> Label | None:
    """Returns a stored label like `read_label`; `place` names its file and key (``a.tar: key 'x'``) if it is unusable.

    Raises:
        InputError: the label is unexpected.
    """
    try:
        return read_label(value)
    except ValueError as error:
        raise InputError(f"{place}: {error}") from error


def unify_labels(places: Mapping[Label, str]) -> dict[Label, Label]:
    """Returns the final form of each label of a source: if some are numbers, texts of digits are numbers too.

    Args:
        places: the labels, each with a place (file and key) that holds it.

    Raises:
        InputError: numbers and names are mixed.
    """
    number = next((label for label in places if isinstance(label, int)), None)
    if number is None:
        return {label: label for label in places}
    texts = [label for label in places if isinstance(label, str) and not is_digits(label)]
    if texts:
        raise InputError(mixed_message(number, texts[0], places))
    return {label: int(label) for label in places}


def mixed_message(number: Label, name: Label, places: Mapping[Label, str]) -> str:
    """Returns the error for a source some of whose labels are numbers and others names."""
    return (
        f"labels have several types: {places[number]} holds the number {number}, {places[name]} holds "
        f"{_shortened(name)}; write all labels as numbers or all as names"
    )


def is_digits(label: str) -> bool:
    """Whether a text is a class number: digits, and of more than nine the first is not 0."""
    if not (label.isascii() and label.isdigit()):
        return False
    return len(label) <= SHORT_DIGITS or (len(label) <= MOST_DIGITS and label[0] != "0")


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"label {_shortened(data)} is not UTF-8 text; write labels in UTF-8") from None


def _read_text(text: str) -> Label | None:
    if text in NO_LABEL:
        return None
    if WHOLE_FLOAT.fullmatch(text):
        return _read_number(int(text.partition(".")[0]))
    if OTHER_NUMBER.fullmatch(text):
        raise ValueError(f"label {text} is not a class number; write whole numbers from 0, or names")
    if NESTED.fullmatch(text):
        raise ValueError(f"label {_shortened(text)} is not one value; write one number or one name per image")
    return text


def _read_number(value: int | float | Decimal) -> int | None:
    if value == -1 or value != value:  # NaN
        return None
    if value < 0 or value == inf or value != int(value):
        raise ValueError(f"label {value} is not a class number; write whole numbers from 0, or names")
    return int(value)


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
