"""Classes that a network takes for another, from its confusion counts."""

from dataclasses import dataclass
from math import exp, lgamma, log

import torch
from jaxtyping import Float, Int
from torch import Tensor

NEAR_ZERO = 0.05
"""Largest share of a class's images that are right if the class counts as missed."""

NEARLY_ALL = 0.8
"""Share of a missed class's images that go to one other class, if that one is not missed itself."""

EXCHANGED = 0.5
"""The same in a cycle of missed classes: classes that only resemble each other are not both missed."""

WELL_KNOWN = 0.5
"""Median accuracy of all classes from which a single missed one is a surprise."""

SURPRISE = 0.01
"""Largest probability of so few right images if a class were half as well known as the median of those not missed."""

ENOUGH_IMAGES = 20
"""Images of a class from which more would hardly change the decision."""


@dataclass(frozen=True, slots=True)
class TakenFor:
    """A class and the one that it is taken for; how many of its images are right, are taken so, and were measured."""

    index: int
    other: int
    num_right: int
    num_taken: int
    num_images: int


def confusion_counts(logits: Float[Tensor, "b k"], targets: Int[Tensor, "b"]) -> Int[Tensor, "k k"]:
    """Counts images by their class (rows) and by the class with the largest logit (columns), in a sparse tensor.

    A dense one of 10 000 classes would take 800 MB.
    """
    num_classes = logits.shape[1]
    cells = torch.stack([targets, logits.argmax(dim=1)])
    shape = (num_classes, num_classes)
    return torch.sparse_coo_tensor(cells, torch.ones_like(targets), shape, check_invariants=True).coalesce()


def missed_classes(counts: Int[Tensor, "k k"]) -> dict[int, TakenFor]:
    """Returns the classes at or near 0 %, at least half of whose images go to one other class (ties: the first)."""
    totals, right = _totals_and_right(counts)
    most, other = _most_frequent_errors(counts)
    missed = (totals > 0) & (right <= NEAR_ZERO * totals) & (most >= EXCHANGED * totals)
    return {
        index: TakenFor(index, int(other[index]), int(right[index]), int(most[index]), int(totals[index]))
        for index in missed.nonzero().flatten().tolist()
    }


def _cells(counts: Int[Tensor, "k k"]) -> tuple[Int[Tensor, "n"], Int[Tensor, "n"], Int[Tensor, "n"]]:
    """Returns the rows, columns and values of all counts but zeros."""
    cells = (counts if counts.is_sparse else counts.to_sparse()).coalesce()
    rows, columns = cells.indices()
    return rows, columns, cells.values()


def _totals_and_right(counts: Int[Tensor, "k k"]) -> tuple[Int[Tensor, "k"], Int[Tensor, "k"]]:
    """Returns how many images each class has, and how many of them are right."""
    rows, columns, values = _cells(counts)
    none = values.new_zeros(len(counts))
    return none.index_add(0, rows, values), none.index_add(0, rows, values * (rows == columns))


def _most_frequent_errors(counts: Int[Tensor, "k k"]) -> tuple[Int[Tensor, "k"], Int[Tensor, "k"]]:
    """Returns how many images of each class go to the other class that gets most, and that class (ties: the first)."""
    cells = torch.stack(_cells(counts))
    rows, columns, values = cells[:, cells[0] != cells[1]]
    most = values.new_zeros(len(counts)).scatter_reduce(0, rows, values, "amax")
    top = values == most[rows]
    first = columns.new_full((len(counts),), len(counts)).scatter_reduce(0, rows[top], columns[top], "amin")
    return most, first


def taken_classes(counts: Int[Tensor, "k k"]) -> list[TakenFor]:
    """Returns the classes that a network takes for another one, by index; meant for networks better than chance.

    A class is taken for another if at most 5 % of its images are right, and either

    - at least half of them go to one other class of which the same is true, and so on round to the class itself (two
      outputs exchanged, or several in a cycle), or
    - at least 80 % go to one other class, and the network is a good one (median accuracy of at least 50 %);

    and if that is no accident of a small sample: were these classes half as well known as the median of those not
    missed, so few right images would have a probability of at most 1 %. Seven images are enough if all others are
    right, 13 at 60 %; the images of a cycle count together. A weak network that confuses similar classes gets some
    images of both right, or misses one of them while its median is low; neither is reported.
    """
    missed = missed_classes(counts)
    totals, right = _totals_and_right(counts)
    shares = (right / totals.clamp(min=1)).tolist()
    measured: list[int] = totals.nonzero().flatten().tolist()
    is_good = _median([shares[index] for index in measured]) >= WELL_KNOWN
    median = _median([shares[index] for index in measured if index not in missed])
    return [each for each in missed.values() if _is_taken(each, missed, median, is_good=is_good)]


def _median(shares: list[float]) -> float:
    """Returns the median, of two middle ones the larger; 0 for an empty list."""
    return sorted(shares)[len(shares) // 2] if shares else 0.0


def _is_taken(each: TakenFor, missed: dict[int, TakenFor], median: float, *, is_good: bool) -> bool:
    cycle = _cycle_of(each, missed)
    if not cycle and not (is_good and each.num_taken >= NEARLY_ALL * each.num_images):
        return False
    group = cycle or [each]
    return (
        _chance_of_at_most(sum(one.num_right for one in group), sum(one.num_images for one in group), median / 2)
        <= SURPRISE
    )


def _cycle_of(each: TakenFor, missed: dict[int, TakenFor]) -> list[TakenFor]:
    """Returns the missed classes from one, each taken for the next, back to it; empty if they do not lead back."""
    members = [each]
    while (following := missed.get(members[-1].other)) is not None and following not in members:
        members.append(following)
    return members if members[-1].other == each.index else []


def _chance_of_at_most(num_right: int, num_images: int, share: float) -> float:
    """Returns the probability of at most so many right images if each is right with probability `share`, below 1."""
    if share == 0.0:
        return 1.0
    ways = (lgamma(num_images + 1) - lgamma(k + 1) - lgamma(num_images - k + 1) for k in range(num_right + 1))
    return sum(exp(way + k * log(share) + (num_images - k) * log(1 - share)) for k, way in enumerate(ways))
