"""The rule for labels: numbers, text, "no label", and what is refused."""

import math
from decimal import Decimal

import pytest

from rded_core.errors import InputError
from rded_core.io.sources.labels import is_digits, read_label, read_label_at, unify_labels


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (0, 0), (0.0, 0), (10.0, 10), (-0.0, 0), (Decimal("2.0"), 2), ("0.0", 0), (b"3.0", 3), ("12.", 12),
        ("7", "7"), (b"7\n", "7"), ("007", "007"), (" ant ", "ant"), (b"\xef\xbb\xbfant", "ant"), (True, "True"),
        ("n01440764", "n01440764"), ("nana", "nana"), ("na", "na"), ("N.A.", "N.A."),
        ("1e3", "1e3"), ("[ant", "[ant"), ("v1.5", "v1.5"),
    ],
)  # fmt: skip
def test_labels_are_numbers_or_text(value: object, label: int | str) -> None:
    found = read_label(value)
    assert (found, type(found)) == (label, type(label))


@pytest.mark.parametrize(
    "value",
    [
        None, math.nan, -1, -1.0, Decimal("NaN"), "", "  ", b"", "-1", "-1.0",
        "nan", "NaN", "Nan", "NAN", "None", "null", "Null", b"NULL", "<NA>", "<na>", " None ",
    ],
)  # fmt: skip
def test_writers_forms_of_a_missing_label_are_no_label(value: object) -> None:
    assert read_label(value) is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1], r"label \[1\] is a list; write one number or one name"),
        ({"a": 1}, "is a dict; write one number or one name"),
        ("[1]", "is not one value; write one number or one name"),
        ('{"a": 1}', "is not one value"),
        (1.5, r"label 1\.5 is not a class number; write whole numbers"),
        ("1.5", r"label 1\.5 is not a class number; write whole numbers"),
        (-2, "label -2 is not a class number"),
        ("-2", "label -2 is not a class number"),
        ("-2.0", "label -2 is not a class number"),
        (math.inf, "label inf is not a class number"),
        (b"caf\xe9", "is not UTF-8 text; write labels in UTF-8"),
    ],
)
def test_unexpected_labels_are_errors_with_a_remedy(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_label(value)
    with pytest.raises(InputError, match=rf"^a\.tar: key 'x': .*{message}"):
        read_label_at(value, "a.tar: key 'x'")


def test_digits_are_numbers_if_other_labels_are() -> None:
    assert unify_labels({10: "a", "2": "b", "07": "c"}) == {10: 10, "2": 2, "07": 7}
    assert unify_labels({1: "a", "12345678901": "b"}) == {1: 1, "12345678901": 12345678901}
    assert unify_labels({"10": "a", "2": "b", "cat": "c"}) == {"10": "10", "2": "2", "cat": "cat"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", True), ("007", True), ("999999999", True), ("1000000000", True), ("1" * 640, True),
        ("0000000001", False), ("1" * 5000, False), ("", False), ("²", False), ("-1", False), ("1.0", False),
    ],
)  # fmt: skip
def test_whole_numbers_of_any_length_are_digits(text: str, expected: bool) -> None:
    assert is_digits(text) == expected


def test_numbers_and_names_in_one_source_are_an_error_that_names_both_places() -> None:
    with pytest.raises(InputError, match=r"a\.tar: key 'x' holds the number 3, b\.tar: key 'y' holds 'cat'; write all"):
        unify_labels({3: "a.tar: key 'x'", "cat": "b.tar: key 'y'"})
