"""Names of classes compared as people read them."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

NUM_FORMS = 5
"""Number of ways in which two names may be equal, see `spellings`."""


def cleaned(name: str) -> str:
    """Returns a name in one Unicode form (NFKC), with one space for each run of blanks, ``_`` and commas.

    A byte-order mark is removed, and a curly apostrophe is written as a straight one.
    """
    plain = unicodedata.normalize("NFKC", name).replace("\ufeff", "").replace("\u2019", "'")
    return " ".join(re.sub(r"[_,]", " ", plain).split())


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


class NameIndex:
    """Places of names in a list, by every form of their spelling."""

    def __init__(self, names: Iterable[Iterable[str]]) -> None:
        """Indexes a list whose entries each have one or more names."""
        self.places: tuple[dict[str, set[int]], ...] = tuple({} for _ in range(NUM_FORMS))
        for place, aliases in enumerate(names):
            for alias in aliases:
                for places, keys in zip(self.places, spellings(alias), strict=True):
                    for key in keys:
                        places.setdefault(key, set()).add(place)

    def find(self, names: Sequence[str]) -> tuple[set[int], str]:
        """Returns the places of the first of `names` that is in the list, and the spelling that they share.

        A stricter form goes before a looser one, and within a form an earlier name before a later one.
        """
        spelled = [spellings(name) for name in names]
        for form, places in enumerate(self.places):
            for forms in spelled:
                for key in forms[form]:
                    if places.get(key):
                        return places[key], key
        return set(), ""
