"""Matches the outputs of an observer's head to the source's classes, by WordNet id or name."""

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
    """Returns the outputs of a head that are the source's classes.

    Args:
        classes: the head's classes in order, names or WordNet ids; None if unknown.
        head_width: number of outputs.
        wanted: the source's classes in index order.

    Returns:
        The outputs to keep, in the source's order (None: keep the head as it is), and a sentence that says how they
        were matched.

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
            f"the observer has {head_width} outputs without class names, but the source has {len(wanted)} classes; "
            "give --observer-classes (or --teacher-classes) FILE with one name or WordNet id per line, in head order"
        )
    if len(classes) != head_width:
        raise InputError(
            f"got {len(classes)} observer classes for a head of {head_width} outputs; give one class per output"
        )
    columns = _match_names(classes, wanted)
    if columns == list(range(head_width)):
        return None, f"all {head_width} classes match the observer's, in the same order"
    return (
        columns,
        f"{len(columns)} of the observer's {head_width} outputs match the source's classes by name or WordNet id",
    )


def slice_head(network: nn.Module, columns: list[int] | None) -> nn.Module:
    """Returns the network with only the outputs `columns` of its head, in that order; None keeps them all."""
    if columns is None:
        return network
    return _SlicedHead(network, torch.tensor(columns)).eval()


def read_class_list(path: str) -> tuple[str, ...]:
    """Returns the classes in a file with one per line, in head order; blank lines are skipped."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the class list {path}: {error}; give a UTF-8 text file") from error
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
    unmatched: list[str] = []
    for label in wanted:
        matches = _find_output(label, exact, folded)
        if len(matches) == 1:
            columns.append(next(iter(matches)))
        else:
            unmatched.append(f"{label.folder} ({'no match' if not matches else f'{len(matches)} matches'})")
    if unmatched or len(set(columns)) != len(columns):
        detail = ", ".join(unmatched[:10]) or "two classes match the same output"
        raise InputError(
            f"cannot match the source's classes to the observer's {len(classes)}: {detail}; the observer's start with "
            f"{', '.join(classes[:3])}; rename folders or give --observer-classes (--teacher-classes) FILE"
        )
    return columns


def _places(classes: tuple[str, ...]) -> tuple[dict[str, set[int]], dict[str, set[int]]]:
    """Returns the outputs that have each name (their own or their WordNet id's): by exact name, and by folded name."""
    readable = imagenet_names() if any(wnid_of(name) for name in classes) else {}
    exact: dict[str, set[int]] = {}
    folded: dict[str, set[int]] = {}
    for index, name in enumerate(classes):
        for alias in {name, readable.get(name, name)}:
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
    return next((outputs for outputs in (*by_exact, *by_folded) if outputs), set())


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())
