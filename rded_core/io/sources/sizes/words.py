"""What names say about the size of images: ``160px``, ``size_32``, ``imagenet64``."""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator

from rded_core.io.sources.names import words_in

RESOLUTION = re.compile(r"(\d+)(?:px|pix|pixels?)|(\d+)[x×](\d+)|(28|32|48|64|96|\d{3,4})p")
UNIT_FIRST = re.compile(r"(?<![^-_. /])(?:px|pix|pixels?|res|resolution|sizes?)[-_. ]?(\d+)(?![^-_. /])", re.IGNORECASE)
SMALLEST_PX = 8
"""Smaller numbers are not the side of an image: ``2x4`` may be a brick, and ``res-0`` the first of many parts."""

SIZE_WORDS = frozenset(
    {"full", "fullsize", "large", "medium", "mini", "original", "small", "thumb", "thumbnail", "tiny"}
)
FACTOR = re.compile(r"x\d{1,2}|\d{1,2}x")
QUALITY_WORDS = frozenset({"hd", "highres", "hires", "hr", "lores", "lowres", "lr", "sd", "sr"})
"""Words for copies at several resolutions, like factors (``x2``, ``4x``)."""

SIZE_FILLERS = frozenset({"image", "images", "size", "sized"})
USUAL_SIZES = frozenset(map(str, (28, 32, 48, 64, 96, 112, 128, 160, 192, 224, 256, 299, 320, 384, 448, 512)))
"""Folders with such numbers alone hold images of several sizes; other numbers are parts of a table."""

SIZES_AFTER_WORDS = USUAL_SIZES | {"8", "16", "640", "768", "1024"}
"""Numbers after a word, as in ``imagenet64``, that are sizes if the word has no others."""

COUNTED_WORDS = frozenset(
    {
        *("batch", "chunk", "data", "file", "files", "of", "parquet", "part", "partition", "shard", "table", "split"),
        *("block", "bucket", "group", "piece", "page", "row", "rows", "slice", "set", "fold", "run", "seed", "step"),
        *("epoch", "version", "v", "worker", "rank", "node", "job", "task", "id", "no", "num", "number", "index"),
        *("year", "y", "month", "m", "week", "w", "day", "d", "hour", "h", "date"),
        *("client", "patient", "person", "site", "subject", "user", "session", "scene", "video", "level", "p", "s"),
    }
)
"""Words whose numbers count things, so that ``shard128`` is the name of a part, not of a size."""


def is_resolution(word: str) -> bool:
    """Whether a word is the size of an image: ``160px``, ``32x32``, ``480p``."""
    match = RESOLUTION.fullmatch(word)
    return match is not None and all(int(number) >= SMALLEST_PX for number in match.groups() if number)


def is_relative_size(word: str) -> bool:
    """Whether a word compares sizes: ``x4``, ``hr``, ``small``."""
    return word in SIZE_WORDS | QUALITY_WORDS or FACTOR.fullmatch(word) is not None


def spell_sizes(paths: Iterable[str]) -> dict[str, str]:
    """Returns each path with ``size_32`` and ``res64`` spelled as ``32px``, unless such numbers count parts."""
    listed = list(paths)
    numbers = {match[1] for path in listed for match in UNIT_FIRST.finditer(path)}
    count = any(number.startswith("0") or int(number) < SMALLEST_PX for number in numbers)
    return {path: path if count else UNIT_FIRST.sub(r"\1px", path) for path in listed}


def names_that_differ_by_size(names: Iterable[str], *, is_counted: Callable[[str], bool]) -> list[str]:
    """Returns the names that differ by a usual size after a word, or by its absence; empty if none do.

    ``imagenet64`` and ``imagenet128`` do, and ``img`` and ``img-32``; ``shard64`` and ``shard128`` do not.

    Args:
        names: of folders, or of files without their ending.
        is_counted: whether numbers after a word are those of parts.
    """
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for name in sorted(set(names)):
        found[_pattern(words_in(name))][""] = name
        for pattern, word, number in _numbers_in(name):
            if not is_counted(word):
                found[pattern][number] = name
    return next((sorted(by_number.values()) for by_number in found.values() if _are_sizes(by_number)), [])


def _numbers_in(name: str) -> Iterator[tuple[str, str, str]]:
    """Yields each number after a word, with that word and the pattern of the name without the number."""
    words = words_in(name)
    for place, word in enumerate(words):
        stem = word.rstrip("0123456789")
        before = words[place - 1].rstrip("0123456789") if place and not stem else stem
        if before.isalpha() and stem != word:
            yield _pattern([*words[:place], *filter(None, [stem]), *words[place + 1 :]]), before, word[len(stem) :]


def _pattern(words: Iterable[str]) -> str:
    return re.sub(r"\d+", "#", " ".join(words))


def _are_sizes(numbers: Collection[str]) -> bool:
    sizes = set(numbers) - {""}
    return len(numbers) > 1 and sizes <= SIZES_AFTER_WORDS and max(map(int, sizes)) >= 32
