"""Statistics of labels, by hand."""

import math

import pytest
import torch

from rded_core.labels.summary import entropy, shown_class, sum_by_class


def test_entropy_by_hand() -> None:
    labels = torch.tensor([[0.0, 0.0], [0.0, 20 * math.log(3)], [0.0, 1e4]])
    quarter = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert entropy(labels, temperature=20.0).tolist() == pytest.approx([math.log(2), quarter, 0.0], abs=1e-7)


def test_shown_class_has_the_larger_share_and_ties_go_to_the_image_itself() -> None:
    share = torch.tensor([0.0, 0.5, 0.51])
    assert shown_class(torch.tensor([1, 1, 1]), torch.tensor([2, 2, 2]), share).tolist() == [1, 1, 2]


def test_sums_by_class_add_up() -> None:
    labels, shown = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0], [5.0, 0.0, 0.0]]), torch.tensor([0, 2, 0])
    whole = sum_by_class(labels, shown, temperature=2.0)
    assert whole.views.tolist() == [2, 0, 1]
    assert whole.agree.tolist() == [2, 0, 0]
    parts = [sum_by_class(labels[rows], shown[rows], temperature=2.0) for rows in (slice(0, 1), slice(1, 3))]
    torch.testing.assert_close((parts[0] + parts[1]).sharp, whole.sharp)
    assert whole.soft.sum() > whole.sharp.sum()
