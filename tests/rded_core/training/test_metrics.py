import pytest
import torch

from rded_core.seeds import counter_generator
from rded_core.training.metrics import chance_bound, count_correct

LOGITS = torch.tensor([[0.1, 0.9, 0.5], [0.8, 0.1, 0.2], [0.3, 0.2, 0.1]])


@pytest.mark.parametrize(("top", "correct"), [(1, 1), (2, 2), (3, 3), (5, 3)])
def test_count_correct_by_hand(top: int, correct: int) -> None:
    assert count_correct(LOGITS, torch.tensor([1, 2, 2]), top=top) == correct


def test_each_row_counts_top_times_over_all_targets() -> None:
    logits = torch.randn(20, 6, generator=counter_generator(0))
    assert sum(count_correct(logits, torch.full((20,), k), top=2) for k in range(6)) == 40


def test_chance_bound_by_hand() -> None:
    assert chance_bound(2, 100) == pytest.approx(0.5 + 3 * 0.05)
    assert chance_bound(10, 900) == pytest.approx(0.1 + 3 * 0.01)


@pytest.mark.parametrize("num_images", [1, 4, 9, 12])
def test_perfect_accuracy_is_above_chance_for_any_number_of_images(num_images: int) -> None:
    assert chance_bound(2, num_images) < 1.0


def test_chance_bound_falls_to_chance_with_more_images() -> None:
    bounds = [chance_bound(10, num_images) for num_images in (10, 1000, 10**12)]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[-1] == pytest.approx(0.1, abs=1e-5)
