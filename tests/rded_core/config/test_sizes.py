"""Sizes written as text."""

import pytest

from rded_core.config.sizes import parse_size
from rded_core.errors import InputError


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [("200MB", 200_000_000), ("1.5 GiB", 1_610_612_736), ("1000", 1000), ("7b", 7), (" 2 kb ", 2000)],
)
def test_parse_size(text: str, num_bytes: int) -> None:
    assert parse_size(text) == num_bytes


@pytest.mark.parametrize("text", ["", "MB", "-3MB", "3 lots", "0", "0.1", "1e6"])
def test_text_that_is_not_a_size_is_rejected(text: str) -> None:
    with pytest.raises(InputError, match="is not a size; write it like 200MB"):
        parse_size(text)
