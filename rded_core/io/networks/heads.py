"""Matches the outputs of an observer's head to the source's classes, by WordNet id or name."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from rded_core.errors import InputError
from rded_core.io.networks.head_classes import HeadClasses, UncertainName
from rded_core.io.sources.base import SourceClass
from rded_core.io.sources.wordnet import imagenet_wnids
from rded_core.text.wording import counted

NAME_THE_OUTPUTS = (
    "give --observer-classes (or --teacher-classes) FILE with one name or WordNet id per line, in head order"
)


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
            f"the observer has {counted(head_width, 'class')}, the source {len(wanted)}; keep some with --classes, "
            "or train an observer on this source with rded train-observer"
        )
    if classes is None:
        return _match_unnamed(head_width, wanted)
    if len(classes) != head_width:
        raise InputError(
            f"got {len(classes)} observer classes for a head of {head_width} outputs; give one class per output"
        )
    return _describe(HeadClasses(classes).outputs_for(wanted), head_width)


def _match_unnamed(head_width: int, wanted: Sequence[SourceClass]) -> tuple[list[int] | None, str]:
    """Matches a head without class names: in the source's order if it is as wide, or by ImageNet's names.

    A head of 1000 outputs as wide as the source may be either; it is if both give the same order.
    """
    in_order = f"the observer names no classes: its {head_width} outputs are taken in the source's order"
    problem = f"the observer has {head_width} outputs without class names, but the source has {len(wanted)} classes"
    if head_width == len(imagenet_wnids()):
        try:
            columns = HeadClasses(imagenet_wnids()).outputs_for(wanted)
        except InputError as error:
            if isinstance(error, UncertainName) and head_width != len(wanted):
                raise
            problem = f"{problem}, which are not all ImageNet's: {str(error).partition(';')[0]}"
        else:
            if head_width != len(wanted) or columns == list(range(head_width)):
                return _describe(columns, head_width)
            problem = f"the observer names none of its {head_width} outputs, and the source has ImageNet's classes "
            problem += "in another order than ImageNet's own, so that either order may be meant"
            raise InputError(f"{problem}; {NAME_THE_OUTPUTS}")
    if head_width != len(wanted):
        raise InputError(f"{problem}; {NAME_THE_OUTPUTS}")
    return None, in_order


def _describe(columns: list[int], head_width: int) -> tuple[list[int] | None, str]:
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
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
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
