"""Aligns a second source (validation) with the class order of the first."""

from collections.abc import Sequence

from rded_core.errors import InputError
from rded_core.io.sources.base import Source, SourceClass, take_classes
from rded_core.io.sources.wordnet import leading_wnid, list_meanings, meanings, settled_wnids
from rded_core.text.spelling import NameIndex, may_be_one
from rded_core.text.wording import counted


def align_classes(source: Source, wanted: Sequence[SourceClass]) -> Source:
    """Returns `source` with exactly the `wanted` classes, in that order.

    They are matched by WordNet id, folder or name; failing that, by name as people read it (`rded_core.text.spelling`).

    Raises:
        InputError: a class has no match, several or an uncertain one; classes that are not wanted are left out.
    """
    own = settled_wnids([other.wnid or other.folder for other in source.classes])
    known = settled_wnids([label.wnid or label.folder for label in wanted])
    index = NameIndex((other.folder, other.name) for other in source.classes)
    chosen: list[int] = []
    for label, wnid in zip(wanted, known, strict=True):
        matches = _matches(label, wnid, source, own) or index.find([label.folder, label.name])[0]
        if len(matches) != 1:
            names = ", ".join(other.folder for other in source.classes[:10])
            raise InputError(
                f"{source.spec} has {counted(len(matches), 'class') if matches else 'no class'} for {label.folder!r}; "
                f"its classes are {names}; name the classes alike in both sources"
            )
        chosen.append(min(matches))
        _require_certain(label, source.classes[chosen[-1]], spec=source.spec, same=wnid == own[chosen[-1]] is not None)
    if len(set(chosen)) != len(chosen):
        raise InputError(f"two classes match the same class of {source.spec}; name the classes alike in both sources")
    return take_classes(source, chosen)


def _matches(label: SourceClass, wnid: str | None, source: Source, wnids: Sequence[str | None]) -> set[int]:
    """Returns the classes with the same id, folder or name as written; failing that, those that name the same id."""
    exact = {
        other.index
        for other in source.classes
        if (label.wnid and label.wnid == other.wnid) or label.folder == other.folder or label.name == other.name
    }
    same_id = {place for place, other in enumerate(wnids) if wnid and wnid == other}
    return exact or {place for place in same_id if _is_same_name(label.folder, source.classes[place].folder)}


def _is_same_name(one: str, other: str) -> bool:
    """Whether names with the same WordNet id may be one class: the id is written out, or no synonyms contradict."""
    return bool(leading_wnid(one) or leading_wnid(other)) or may_be_one(one, other)


def _require_certain(label: SourceClass, other: SourceClass, *, spec: str, same: bool) -> None:
    """Raises InputError if an id met a name that lists of ImageNet's classes give to two ids."""
    if same or label.folder == other.folder or not (label.wnid or other.wnid):
        return
    if either := (meanings(label.name) or meanings(other.name)):
        raise InputError(
            f"it is not certain that {other.folder!r} of {spec} is {label.folder!r}: lists of ImageNet's classes "
            f"differ in what {label.name!r} is, {list_meanings(either)}; name the class by its WordNet id in both"
        )
