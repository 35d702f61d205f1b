"""The classes of a head, and which of its outputs is a class of the source."""

from collections.abc import Sequence

from rded_core.errors import InputError
from rded_core.io.sources.base import SourceClass
from rded_core.io.sources.wordnet import (
    imagenet_names,
    leading_wnid,
    list_meanings,
    meanings,
    settled_wnids,
    without_wnid,
    wnids_of_head,
)
from rded_core.text.spelling import NameIndex

MAX_SHOWN = 10


class UncertainName(InputError):
    """A class of the source has a name that means several of ImageNet's classes."""


class HeadClasses:
    """The classes of a head, looked up by WordNet id, then by name as people read it (`rded_core.text.spelling`).

    Args:
        classes: names or WordNet ids in head order; a line may hold both, and a list of synonyms.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = classes
        self.wnids = wnids_of_head(classes)
        readable = imagenet_names() if any(self.wnids) else {}
        self.names = NameIndex(
            {name, without_wnid(name), readable.get(wnid or "", name)}
            for name, wnid in zip(classes, self.wnids, strict=True)
        )

    def outputs_for(self, wanted: Sequence[SourceClass]) -> list[int]:
        """Returns the output of each class of the source.

        Raises:
            InputError: a class has no output, several, or one that is not certain (see `wordnet.UNCERTAIN`).
        """
        known = _wnids_of(wanted) if any(self.wnids) else [label.wnid for label in wanted]
        found = [self._find(label, wnid) for label, wnid in zip(wanted, known, strict=True)]
        unmatched = [
            f"{label.folder} ({'no match' if not outputs else f'{len(outputs)} matches'})"
            for label, outputs in zip(wanted, found, strict=True)
            if len(outputs) != 1
        ]
        columns = [min(outputs) for outputs in found if outputs]
        if unmatched or len(set(columns)) != len(columns):
            raise InputError(
                f"cannot match the source's classes to the observer's {len(self.classes)}: "
                f"{', '.join(unmatched[:MAX_SHOWN]) or 'two classes match the same output'}; the observer's start with "
                f"{', '.join(self.classes[:3])}; rename folders or give --observer-classes (--teacher-classes) FILE"
            )
        return columns

    def _find(self, label: SourceClass, wnid: str | None) -> set[int]:
        if wnid in self.wnids and wnid:
            return {place for place, each in enumerate(self.wnids) if each == wnid}
        own = dict.fromkeys((label.folder, without_wnid(label.folder)))
        outputs, spelling = self.names.find([*own, label.name])
        if (either := meanings(spelling)) and (any(self.wnids) or not self.names.find(list(own))[0]):
            raise _uncertain(label, either)
        return outputs


def _wnids_of(wanted: Sequence[SourceClass]) -> list[str | None]:
    settled = settled_wnids([label.folder for label in wanted])
    return [label.wnid or wnid for label, wnid in zip(wanted, settled, strict=True)]


def _uncertain(label: SourceClass, either: Sequence[str]) -> UncertainName:
    remedy = (
        "give --observer-classes (--teacher-classes) FILE with WordNet ids"
        if leading_wnid(label.folder)
        else "name the class by its WordNet id"
    )
    return UncertainName(
        f"cannot match the class {label.folder!r} for certain: lists of ImageNet's classes differ in what "
        f"{label.name!r} is, {list_meanings(either)}; {remedy}"
    )
