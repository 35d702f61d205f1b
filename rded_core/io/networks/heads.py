"""Which outputs of an observer's head are the source's classes: by WordNet id or name, or not at all."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from rded_core.errors import InputError
from rded_core.io.sources.base import SourceClass
from rded_core.io.sources.wordnet import imagenet_names, imagenet_wnids, wnid_of


def match_head(
    classes: tuple[str, ...] | None, head_width: int, wanted: Sequence[SourceClass]
) -> tuple[list[int] | None, str]:
    """Finds which outputs of a head are the source's classes.

    Args:
        classes: the head's classes in order, names or WordNet ids, where known.
        head_width: number of outputs.
        wanted: the source's classes in index order.

    Returns:
        The outputs to keep, in the source's order (None: the head as it is), and a sentence that says how they were
        found.

    Raises:
        InputError: the match is not certain.
    """
    if head_width < len(wanted):
        raise InputError(
            f"the observer has {head_width} classes, the source {len(wanted)}; keep some with --classes, "
            "or train an observer on this source with rded train-observer"
        )
    if classes is None and head_width == 1000 and all(label.wnid in imagenet_wnids() for label in wanted):
        classes = imagenet_wnids()
    if classes is None:
        if head_width == len(wanted):
            return None, f"the observer names no classes: its {head_width} outputs are taken in the source's order"
        raise InputError(
            f"the observer has {head_width} outputs and names none of them, the source has {len(wanted)} classes; "
            "give --observer-classes (or --teacher-classes) FILE with one name or WordNet id a line, in head order"
        )
    if len(classes) != head_width:
        raise InputError(
            f"{len(classes)} observer classes are given for a head of {head_width} outputs; they must agree"
        )
    columns = _match_names(classes, wanted)
    if columns == list(range(head_width)):
        return None, f"all {head_width} classes match the observer's, in the same order"
    return (
        columns,
        f"{len(columns)} of the observer's {head_width} outputs match the source's classes by name or WordNet id",
    )


def slice_head(network: nn.Module, columns: list[int] | None) -> nn.Module:
    """Returns the network with only the head's outputs `columns`, in that order; all of them for None."""
    if columns is None:
        return network
    return _SlicedHead(network, torch.tensor(columns)).eval()


def read_class_list(path: str) -> tuple[str, ...]:
    """Reads one class a line, in head order; blank lines are left out."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the class list {path}: {error}") from error
    return tuple(line.strip() for line in lines if line.strip())


class _SlicedHead(nn.Module):
    def __init__(self, network: nn.Module, columns: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("columns", columns)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images).index_select(1, self.columns)


def _match_names(classes: tuple[str, ...], wanted: Sequence[SourceClass]) -> list[int]:
    exact, folded = _places(classes)
    columns: list[int] = []
    unsure: list[str] = []
    for label in wanted:
        found = _find_output(label, exact, folded)
        if len(found) == 1:
            columns.append(next(iter(found)))
        else:
            unsure.append(f"{label.folder} ({'no match' if not found else f'{len(found)} matches'})")
    if unsure or len(set(columns)) != len(columns):
        detail = ", ".join(unsure[:10]) or "two classes match the same output"
        raise InputError(
            f"cannot match the source's classes to the observer's {len(classes)}: {detail}; the observer's begin with "
            f"{', '.join(classes[:3])}; rename folders, or give --observer-classes (--teacher-classes) FILE"
        )
    return columns


def _places(classes: tuple[str, ...]) -> tuple[dict[str, set[int]], dict[str, set[int]]]:
    """Maps every name of an output (its own, and its WordNet id's) to the outputs that bear it: exact, and folded."""
    known = imagenet_names() if any(wnid_of(name) for name in classes) else {}
    exact: dict[str, set[int]] = {}
    folded: dict[str, set[int]] = {}
    for index, name in enumerate(classes):
        for alias in {name, known.get(name, name)}:
            exact.setdefault(alias, set()).add(index)
            folded.setdefault(_plain(alias), set()).add(index)
    return exact, folded


def _find_output(label: SourceClass, exact: dict[str, set[int]], folded: dict[str, set[int]]) -> set[int]:
    """Returns the outputs for a class: by WordNet id, then by exact name, then by name without case and punctuation.

    Exact names come first because ImageNet has a ``Cardigan`` (the dog) and a ``cardigan``.
    """
    names = [name for name in (label.wnid, label.folder, label.name) if name]
    by_exact = (exact.get(name, set()) for name in names)
    by_folded = (folded.get(_plain(name), set()) for name in names)
    return next((found for found in (*by_exact, *by_folded) if found), set())


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())
