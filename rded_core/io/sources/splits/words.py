"""Words in names that say which split a file or folder belongs to."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from rded_core.io.sources.names import SPLIT_FILLERS, SPLIT_KINDS, SPLIT_NAMES

PURPOSES = {word: purpose for purpose, words in SPLIT_NAMES.items() for word in words}
"""Purpose (train or val) of each split word."""

KIND_OF = {word: kind for kinds in SPLIT_KINDS.values() for kind in kinds for word in kind}
"""The words that mean the same as each split word."""

SPLIT_PART = re.compile(rf"({'|'.join(PURPOSES)})\d*(?:{'|'.join(sorted(SPLIT_FILLERS))})?\d*")
"""A part of a name that names a split: ``train``, ``train2017``, ``trainset``."""

SEPARATORS = re.compile(r"[-_. ]+")
CAPITALS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

LONGEST_FIRST = "|".join(sorted(PURPOSES, key=len, reverse=True))
JOINED = re.compile(rf"({LONGEST_FIRST})(.+)")
JOINED_AT_END = re.compile(rf"(.+?)({LONGEST_FIRST})")

WORD_ENDINGS = frozenset({"able", "ed", "ee", "ees", "er", "ers", "ing", "ings", "s"})
"""What makes other words of split words: a trainer and a tester are no splits."""


def split_word(part: str) -> str:
    """Returns the split word that a part of a name consists of, without what is joined to it, or ""."""
    match = SPLIT_PART.fullmatch(part)
    return match[1] if match else ""


def split_words(name: str) -> set[str]:
    """Returns the split words in the parts of a name: ``train`` of ``seg_train``, ``imagesTrain`` and ``trainset``."""
    return set(filter(None, map(split_word, parts_of(name))))


def are_unclear(words: Iterable[str]) -> bool:
    """Whether some words mean training and others validation."""
    return len({PURPOSES[word] for word in words}) > 1


def parts_of(name: str) -> list[str]:
    """Returns the parts of a name between separators, in lower case; capitals separate too if they show a split."""
    return [part for word in filter(None, SEPARATORS.split(name)) for part in _parts_of_word(word)]


def _parts_of_word(word: str) -> list[str]:
    whole, parts = word.lower(), CAPITALS.sub(" ", word).lower().split()
    return [whole] if split_word(whole) or not any(map(split_word, parts)) else parts


def spell_splits(paths: Iterable[str]) -> dict[str, str]:
    """Returns each path with ``imagenettrain`` spelled ``imagenet-train``, if another has ``imagenetval`` there.

    Words such as ``interval`` alone stay, and those that differ by a usual ending (``trainer`` and ``tester``).
    """
    listed = list(paths)
    kinds: defaultdict[tuple[int, int, str], set[tuple[str, ...]]] = defaultdict(set)
    for path in listed:
        for depth, index, word in _separated_words(path):
            for stem, _, split in _joined(word):
                kinds[depth, index, stem].add(KIND_OF[split])
    pairs = {place for place, found in kinds.items() if len(found) > 1}
    return {path: _spelled(path, pairs) if pairs else path for path in listed}


def _separated_words(path: str) -> Iterator[tuple[int, int, str]]:
    """Yields each word of a path with the number of its folder and its place in that name."""
    for depth, name in enumerate(path.split("/")):
        for index, word in enumerate(SEPARATORS.split(name)):
            yield depth, index, word


def _joined(word: str) -> Iterator[tuple[str, str, str]]:
    """Yields the stem that a split word is joined to, how to write it apart, and the split word."""
    lower = word.lower()
    if any(map(split_word, parts_of(word))):
        return
    if (match := JOINED.fullmatch(lower)) and not split_word(match[2]) and match[2] not in WORD_ENDINGS:
        yield f"*{match[2]}", f"{match[1]}-{match[2]}", match[1]
    if (match := JOINED_AT_END.fullmatch(lower)) and not split_word(match[1]):
        yield f"{match[1]}*", f"{match[1]}-{match[2]}", match[2]


def _spelled(path: str, pairs: set[tuple[int, int, str]]) -> str:
    names: defaultdict[int, list[str]] = defaultdict(list)
    for depth, index, word in _separated_words(path):
        apart = (text for stem, text, _ in _joined(word) if (depth, index, stem) in pairs)
        names[depth].append(next(apart, word))
    return "/".join(map("-".join, names.values()))


class SplitPlace(NamedTuple):
    """A split word of a path: the number of its folder and part, the parts before it, and the word."""

    depth: int
    part: int
    before: tuple[str, ...]
    word: str


def split_places(path: str) -> list[SplitPlace]:
    """Returns the split words of a path in order; digits in the parts before them are replaced by ``#``."""
    places: list[SplitPlace] = []
    before: list[str] = []
    for depth, name in enumerate(path.split("/")):
        for number, part in enumerate(parts_of(name)):
            if word := split_word(part):
                places.append(SplitPlace(depth, number, tuple(before), word))
            before.append(re.sub(r"\d+", "#", part))
    return places


def deciding_words(spelled: Mapping[str, str]) -> dict[str, set[str]]:
    """Returns the split words of each path that another path has another split in place of, after the same parts.

    Of ``train-test-split-train-0`` and ``train-test-split-test-0`` they are the last ones. Other paths have none.

    Args:
        spelled: paths, each with its form of `spell_splits`.
    """
    places = {path: split_places(text) for path, text in spelled.items()}
    kinds: defaultdict[tuple[int, int, tuple[str, ...]], set[tuple[str, ...]]] = defaultdict(set)
    for place in (place for found in places.values() for place in found):
        kinds[place[:3]].add(KIND_OF[place.word])
    return {path: {place.word for place in found if len(kinds[place[:3]]) > 1} for path, found in places.items()}
