"""Folders of images that hold the same subfolders at several sizes are copies, not classes."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from rded_core.errors import InputError
from rded_core.io.sources.labels import is_digits
from rded_core.io.sources.names import words_in
from rded_core.io.sources.sizes.words import (
    COUNTED_WORDS,
    SIZE_FILLERS,
    SIZE_WORDS,
    USUAL_SIZES,
    is_relative_size,
    is_resolution,
    names_that_differ_by_size,
    spell_sizes,
)
from rded_core.io.sources.splits.words import split_words

FEWEST_CLASSES = 2

VIEW_WORDS = frozenset(
    {
        *("back", "bottom", "center", "centre", "down", "front", "inside", "left", "outside", "rear", "right", "side"),
        *(
            "top",
            "up",
            "day",
            "night",
            "indoor",
            "outdoor",
            "images",
            "image",
            "photos",
            "masks",
            "train",
            "test",
            "val",
        ),
    }
)
"""Names of folders that each class may have: views of a thing, or its own splits."""


def require_one_size(tops: Mapping[str, Collection[str]], *, spec: str) -> None:
    """Raises InputError if folders named after sizes hold subfolders of the same names: ``160px/cat``, ``320px/cat``.

    Args:
        tops: the folders that hold images, each with the names of its subfolders that do ("" for the folder itself).
            Folders that hold images themselves are classes, regardless of their names.
        spec: the folder that they lie in, as the user wrote it.
    """
    nested = {top: set(inner) for top, inner in sorted(tops.items()) if "" not in inner}
    for group in _groups_of_sizes(nested):
        same = [top for top in group if any(nested[top] & nested[other] for other in group if other != top)]
        if same:
            raise InputError(
                f"{spec} holds {', '.join(same[:5])} with subfolders of the same names, which may be the same images "
                f"at several sizes; give one of them, e.g. {spec}/{same[0]}, or rename them if they are classes"
            )


def _groups_of_sizes(nested: Mapping[str, Collection[str]]) -> Iterator[list[str]]:
    """Yields lists of folders whose names differ by a size.

    Words such as ``small`` may be classes: they count beside a resolution, if all subfolders are splits, or if they
    share several names that may be classes.
    """
    worded = [top for top in nested if _says_only_size(top)]
    resolutions = [top for top, spelled in spell_sizes(nested).items() if any(map(is_resolution, words_in(spelled)))]
    if resolutions:
        yield [*resolutions, *(top for top in worded if top not in resolutions)]
    yield [top for top in worded if all(map(split_words, nested[top]))]
    relative = [top for top in nested if _says_only_size(top, is_relative_size)]
    if _share_classes([nested[top] for top in relative]):
        yield relative
    yield names_that_differ_by_size(nested, is_counted=COUNTED_WORDS.__contains__)
    if all(is_digits(top) and top in USUAL_SIZES for top in nested):
        yield list(nested)


def _says_only_size(top: str, is_size: Callable[[str], bool] = SIZE_WORDS.__contains__) -> bool:
    words = [word for word in words_in(top) if word not in SIZE_FILLERS]
    return bool(words_in(top)) and all(map(is_size, words))


def _share_classes(folders: Sequence[Collection[str]]) -> bool:
    """Whether folders have `FEWEST_CLASSES` subfolders of the same names, not all of them numbers or views."""
    shared = set(folders[0]).intersection(*folders[1:]) if folders else set[str]()
    plain = [name for name in shared if not (is_digits(name) or VIEW_WORDS.issuperset(words_in(name)))]
    return len(shared) >= FEWEST_CLASSES and bool(plain)
