"""Bring a second source (validation) into the class order of the first."""

from collections.abc import Sequence
from dataclasses import replace

from rded_core.errors import InputError
from rded_core.io.sources.base import Source, SourceClass


def align_classes(source: Source, wanted: Sequence[SourceClass]) -> Source:
    """Returns `source` with exactly the classes `wanted`, in that order, matched by WordNet id, folder or name.

    Raises:
        InputError: a class is missing; classes that nobody asked for are left out.
    """
    chosen: list[int] = []
    for label in wanted:
        found = [
            other.index
            for other in source.classes
            if (label.wnid and label.wnid == other.wnid) or label.folder == other.folder or label.name == other.name
        ]
        if len(found) != 1:
            names = ", ".join(other.folder for other in source.classes[:10])
            raise InputError(
                f"{source.spec} has {len(found) or 'no'} class for {label.folder!r}; its classes are {names}; "
                "both sources must name their classes alike"
            )
        chosen.append(found[0])
    classes = tuple(replace(source.classes[old], index=new) for new, old in enumerate(chosen))
    return replace(source, classes=classes, items=tuple(source.items[old] for old in chosen))
