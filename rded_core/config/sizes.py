"""Sizes in bytes, written as text."""

import re

from rded_core.errors import InputError

UNITS = {
    "": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
}  # fmt: skip


def parse_size(text: str) -> int:
    """Returns the number of bytes in ``200MB``, ``1.5 GiB`` or ``1000``.

    Raises:
        InputError: not a size, or below 1 byte.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([a-zA-Z]*)\s*", text)
    if match is None or match[2].upper() not in UNITS or (size := int(float(match[1]) * UNITS[match[2].upper()])) < 1:
        raise InputError(f"{text!r} is not a size; write it like 200MB, 1.5GiB or 1000000")
    return size
