"""Names of classes compared as people read them."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

NUM_FORMS = 5
"""Number of ways in which two names may be equal, see `spellings`."""


MAX_KEPT = 2**14
"""Names whose forms are kept: lists of a thousand classes are compared in every form, and several times."""


@lru_cache(MAX_KEPT)
def cleaned(name: str) -> str:
    """Returns a name in one Unicode form (NFKC), with one space for each run of blanks, ``_`` and commas.

    A byte-order mark is removed, a curly apostrophe is written as a straight one, and a whole number as one (``2.0``).
    """
    plain = unicodedata.normalize("NFKC", name).replace("\ufeff", "").replace("\u2019", "'")
    return re.sub(r"^(\d+)\.0+$", r"\1", " ".join(re.sub(r"[_,]", " ", plain).split()))


@lru_cache(MAX_KEPT)
def folded(name: str) -> str:
    """Returns a name cleaned, without case, and with spaces for hyphens."""
    return " ".join(cleaned(cleaned(name).casefold()).replace("-", " ").split())


def synonyms(name: str) -> tuple[str, ...]:
    """Returns the names in a list such as ``tench, Tinca tinca``; a name without a comma is a list of one."""
    return tuple(part for part in map(str.strip, re.split(r",(?:\s|_)", name)) if part) or (name,)


def spellings(name: str) -> tuple[tuple[str, ...], ...]:
    """Returns what a name is compared by, the strictest form first: two names are equal if they share one of a form.

    The forms: as written; cleaned; its first synonym, cleaned; the whole name or its first synonym, folded; any
    synonym, folded. The case comes late because ImageNet has a ``Cardigan`` (the dog) and a ``cardigan``.
    """
    listed = synonyms(name)
    first = listed[0]
    return (
        (name,),
        (cleaned(name),),
        (cleaned(first),),
        (folded(name), folded(first)),
        tuple(folded(each) for each in listed),
    )


def may_be_one(one: str, other: str) -> bool:
    """Whether two names that share a synonym may be one class: of two lists, one must contain the other.

    Lists that only overlap are different classes: ``Pepper, healthy`` and ``Pepper, bacterial spot``.
    """
    if folded(one) == folded(other):
        return True
    parts, others = ({folded(part) for part in synonyms(name)} for name in (one, other))
    return min(len(parts), len(others)) == 1 or parts <= others or others <= parts


class NameIndex:
    """Places of names in a list, by every form of their spelling."""

    def __init__(self, names: Iterable[Iterable[str]]) -> None:
        """Indexes a list whose entries each have one or more names."""
        self.entries: tuple[dict[str, set[tuple[int, str]]], ...] = tuple({} for _ in range(NUM_FORMS))
        for place, aliases in enumerate(names):
            for alias in aliases:
                for entries, keys in zip(self.entries, spellings(alias), strict=True):
                    for key in keys:
                        entries.setdefault(key, set()).add((place, alias))

    def find(self, names: Sequence[str]) -> tuple[set[int], str]:
        """Returns the places of the first of `names` that is in the list, and the spelling that they share.

        A stricter form goes before a looser one, and within a form an earlier name before a later one. Two lists of
        synonyms are equal only if one contains the other.
        """
        spelled = [(name, spellings(name)) for name in names]
        for form, entries in enumerate(self.entries):
            for name, forms in spelled:
                for key in forms[form]:
                    if places := {place for place, alias in entries.get(key, ()) if may_be_one(name, alias)}:
                        return places, key
        return set(), ""
