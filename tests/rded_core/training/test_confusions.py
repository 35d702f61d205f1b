"""Classes taken for another: exchanged outputs are found, weak observers and small samples are not accused."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rded_core.training.confusions import TakenFor, confusion_counts, missed_classes, taken_classes


def counts_of(num_classes: int, num_images: int, *, right: int, moved: dict[int, int]) -> Tensor:
    """Returns counts in which `right` images of a class go to itself, or to the one in `moved`, the rest elsewhere."""
    counts = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    for index in range(num_classes):
        home = moved.get(index, index)
        counts[index, home] = right
        for step in range(num_images - right):
            away = [other for other in range(num_classes) if other not in (home, index)]
            counts[index, away[step % len(away)]] += 1
    return counts


def pairs(counts: Tensor) -> list[tuple[int, int]]:
    return [(each.index, each.other) for each in taken_classes(counts)]


def test_counts_have_classes_in_rows_and_predictions_in_columns() -> None:
    logits = torch.tensor([[0.0, 1.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 3.0]])
    counts = confusion_counts(logits, torch.tensor([0, 0, 1]))
    assert counts.to_dense().tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert (counts + counts).to_dense().tolist() == [[2, 2, 0], [0, 0, 2], [0, 0, 0]]
    none = confusion_counts(torch.empty(0, 2), torch.empty(0, dtype=torch.long))
    assert none.to_dense().tolist() == [[0, 0], [0, 0]]
    assert taken_classes(none) == []


class LargestTensor(TorchDispatchMode):
    """Keeps the number of elements of the largest dense tensor made."""

    numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        dense = [each for each in tree_leaves(made) if isinstance(each, Tensor) and each.layout == torch.strided]
        self.numel = max([self.numel, *(each.numel() for each in dense)])
        return made


def test_many_classes_need_no_table_of_all_pairs() -> None:
    targets = torch.arange(2000).repeat_interleave(3)
    answers = targets.clone()
    answers[targets == 7] = 1999
    logits = torch.nn.functional.one_hot(answers, 2000).float()
    with LargestTensor() as largest:
        assert pairs(counts := confusion_counts(logits, targets)) == []
        assert pairs(counts + counts + counts) == [(7, 1999)]
    assert largest.numel < 100_000


def test_sparse_and_dense_counts_give_the_same() -> None:
    generator = torch.Generator().manual_seed(0)
    for num_classes in (2, 5, 12):
        counts = torch.randint(0, 4, (num_classes, num_classes), generator=generator)
        counts.fill_diagonal_(0)
        most, other = counts.max(dim=1)
        totals = counts.sum(dim=1)
        expected = {
            index: TakenFor(index, int(other[index]), 0, int(most[index]), int(totals[index]))
            for index in range(num_classes)
            if totals[index] and 2 * most[index] >= totals[index]
        }
        assert missed_classes(counts) == expected
        assert missed_classes(counts.to_sparse()) == expected


@pytest.mark.parametrize(
    "moved", [{2: 3, 3: 2}, {0: 1, 1: 2, 2: 0}, {0: 1, 1: 0, 5: 6, 6: 5}, {4: 7}], ids=["two", "three", "pairs", "one"]
)
@pytest.mark.parametrize(("num_images", "right"), [(8, 8), (20, 17)])
def test_exchanged_outputs_are_found(moved: dict[int, int], num_images: int, right: int) -> None:
    assert pairs(counts_of(8, num_images, right=right, moved=moved)) == sorted(moved.items())


def test_two_of_a_thousand_are_found() -> None:
    assert pairs(counts_of(1000, 20, right=14, moved={134: 517, 517: 134})) == [(134, 517), (517, 134)]


def test_an_exchange_by_a_weak_observer_is_found_with_enough_images() -> None:
    assert pairs(counts_of(10, 20, right=11, moved={2: 3, 3: 2})) == [(2, 3), (3, 2)]


@pytest.mark.parametrize("num_images", [1, 2, 3])
def test_small_samples_accuse_nobody(num_images: int) -> None:
    assert pairs(counts_of(8, num_images, right=num_images, moved={2: 3, 3: 2})) == []
    assert pairs(counts_of(8, 2 * num_images, right=2 * num_images, moved={2: 3})) == []


def test_the_images_of_an_exchange_count_together() -> None:
    assert pairs(counts_of(8, 4, right=4, moved={2: 3, 3: 2})) == [(2, 3), (3, 2)]
    assert pairs(counts_of(8, 4, right=4, moved={2: 3})) == []


def test_similar_classes_that_a_weak_observer_mixes_up_are_not_exchanged() -> None:
    counts = counts_of(10, 20, right=11, moved={})
    counts[2, [2, 3]], counts[3, [2, 3]] = torch.tensor([6, 12]), torch.tensor([9, 8])
    assert pairs(counts) == []


def test_a_weak_observer_that_never_answers_with_a_class_is_not_accused() -> None:
    """It is right on 40 % of the others; all its images of class 2 go to a similar class."""
    assert pairs(counts_of(10, 20, right=8, moved={2: 3})) == []


def test_a_missed_class_whose_images_go_everywhere_is_not_taken_for_one() -> None:
    counts = counts_of(8, 20, right=20, moved={})
    counts[2] = torch.tensor([4, 4, 0, 4, 4, 2, 1, 1])
    assert pairs(counts) == []
    assert missed_classes(counts) == {}


@pytest.mark.parametrize("answers", [1, 3])
def test_an_observer_that_gives_few_answers_is_not_accused(answers: int) -> None:
    counts = torch.zeros(8, 8, dtype=torch.int64)
    for index in range(8):
        counts[index, index % answers] = 20
    assert pairs(counts) == []


def test_nothing_measured_accuses_nobody() -> None:
    assert taken_classes(torch.zeros(4, 4, dtype=torch.int64)) == []


def test_numbers_of_a_pair_are_of_its_images() -> None:
    counts = counts_of(8, 20, right=19, moved={2: 3})
    assert taken_classes(counts) == [TakenFor(index=2, other=3, num_right=0, num_taken=19, num_images=20)]


def test_a_cycle_of_all_classes_has_nothing_to_be_compared_with() -> None:
    assert pairs(counts_of(3, 20, right=20, moved={0: 1, 1: 2, 2: 0})) == []
