"""Lists of names separated by commas, some of which hold commas themselves."""

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple


class _Way(NamedTuple):
    """A way to read the rest of a list; the least is the best."""

    num_unknown: int
    num_names: int
    minus_length: int
    """Parts of the first name, negated: longer is better."""


def join_names(given: Sequence[str], known: Collection[str]) -> list[str]:
    """Returns the names that a list means: those in `known` first, also if they were cut at their own commas.

    ``["Pepper", "_bell", "Tomato"]`` means ``["Pepper,_bell", "Tomato"]`` if these are known. As many parts as possible
    belong to known names, and of several ways the one with the longest names is taken. Other parts stay as they are.
    """
    by_parts = {tuple(_parts_of(name)): name for name in sorted(known, reverse=True) if _parts_of(name)}
    names: list[str] = []
    for is_whole, group in groupby(given, lambda name: "," in name and name in known):
        texts = list(group)
        names += texts if is_whole else _join_parts([part for text in texts for part in _parts_of(text)], by_parts)
    return names


def _join_parts(parts: list[str], by_parts: Mapping[tuple[str, ...], str]) -> list[str]:
    """Returns the names that consecutive parts make; the best way from each part on is found from the end."""
    lengths = {len(key) for key in by_parts} | {1}
    best = [_Way(0, 0, 0)] * (len(parts) + 1)
    for start in reversed(range(len(parts))):
        best[start] = min(
            _Way(rest.num_unknown + (not is_known), rest.num_names + 1, -length)
            for length in lengths
            if (is_known := tuple(parts[start : start + length]) in by_parts) or length == 1
            for rest in best[start + length : start + length + 1]
        )
    names: list[str] = []
    start = 0
    while start < len(parts):
        chosen = parts[start : start - best[start].minus_length]
        names.append(by_parts.get(tuple(chosen), chosen[0]))
        start += len(chosen)
    return names


def _parts_of(name: str) -> list[str]:
    return [part.strip() for part in name.split(",") if part.strip()]
