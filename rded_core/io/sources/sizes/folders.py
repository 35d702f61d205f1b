"""Folders of images that hold the same subfolders at several sizes are copies, not classes."""

from collections.abc import Collection, Iterator, Mapping

from rded_core.errors import InputError
from rded_core.io.sources.labels import is_digits
from rded_core.io.sources.names import words_in
from rded_core.io.sources.sizes.words import (
    COUNTED_WORDS,
    SIZE_FILLERS,
    SIZE_WORDS,
    USUAL_SIZES,
    is_resolution,
    names_that_differ_by_size,
    spell_sizes,
)
from rded_core.io.sources.splits.words import split_words


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

    Words such as ``small`` may be classes: they count beside a resolution, or if all subfolders are splits.
    """
    worded = [top for top in nested if _says_only_size(top)]
    resolutions = [top for top, spelled in spell_sizes(nested).items() if any(map(is_resolution, words_in(spelled)))]
    if resolutions:
        yield [*resolutions, *(top for top in worded if top not in resolutions)]
    yield [top for top in worded if all(map(split_words, nested[top]))]
    yield names_that_differ_by_size(nested, is_counted=COUNTED_WORDS.__contains__)
    if all(is_digits(top) and top in USUAL_SIZES for top in nested):
        yield list(nested)


def _says_only_size(top: str) -> bool:
    words = set(words_in(top))
    return bool(words) and words <= SIZE_WORDS | SIZE_FILLERS
