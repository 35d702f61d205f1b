"""Aligns a second source (validation) with the class order of the first."""

from collections.abc import Sequence
from dataclasses import replace

from rded_core.errors import InputError
from rded_core.io.sources.base import Source, SourceClass
from rded_core.text.wording import counted


def align_classes(source: Source, wanted: Sequence[SourceClass]) -> Source:
    """Returns `source` with exactly the `wanted` classes, in that order, matched by WordNet id, folder or name.

    Raises:
        InputError: a class has no match or several; classes that are not wanted are left out.
    """
    chosen: list[int] = []
    for label in wanted:
        matches = [
            other.index
            for other in source.classes
            if (label.wnid and label.wnid == other.wnid) or label.folder == other.folder or label.name == other.name
        ]
        if len(matches) != 1:
            names = ", ".join(other.folder for other in source.classes[:10])
            raise InputError(
                f"{source.spec} has {counted(len(matches), 'class') if matches else 'no class'} for {label.folder!r}; "
                f"its classes are {names}; name the classes alike in both sources"
            )
        chosen.append(matches[0])
    classes = tuple(replace(source.classes[old], index=new) for new, old in enumerate(chosen))
    return replace(source, classes=classes, items=tuple(source.items[old] for old in chosen))
