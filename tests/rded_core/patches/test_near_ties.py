"""Patches to score again: enough for the exact selection under any rounding, and few more."""

import math

import pytest
import torch
from torch import Tensor

from rded_core.patches.near_ties import largest_error, log_odds, may_be_chosen, near_best
from rded_core.patches.selection import select_patches


def _scores(num_candidates: int, num_crops: int, *, sure: float, seed: int) -> tuple[Tensor, Tensor]:
    """Returns exact scores, and the same with log-odds moved by up to 0.1."""
    generator = torch.Generator().manual_seed(seed)
    odds = sure + 4.0 * torch.randn(num_candidates, num_crops, generator=generator, dtype=torch.float64)
    moved = odds + 0.2 * torch.rand(odds.shape, generator=generator, dtype=torch.float64) - 0.1
    return (torch.nn.functional.logsigmoid(values).float() for values in (odds, moved))  # pyright: ignore[reportReturnType]


def test_log_odds_by_hand() -> None:
    odds = log_odds(torch.tensor([math.log(0.5), math.log(0.9), -20.0, 0.0]))
    torch.testing.assert_close(
        odds[:3], torch.tensor([0.0, math.log(9.0), -20.0], dtype=torch.float64), rtol=1e-6, atol=1e-6
    )
    assert odds[3].isfinite() and odds[3] > 20


@pytest.mark.parametrize("sure", [-6.0, 0.0, 6.0, 14.0, 20.0])
@pytest.mark.parametrize("seed", range(6))
def test_exact_selection_is_recovered_under_any_rounding(sure: float, seed: int) -> None:
    exact, fast = _scores(60, 5, sure=sure, seed=seed)
    wanted = may_be_chosen(fast, 12, 0.2)
    found = select_patches(torch.where(wanted, exact, fast), 12)
    expected = select_patches(exact, 12)
    assert torch.equal(found.candidates, expected.candidates)
    assert torch.equal(found.crops, expected.crops)
    assert torch.equal(found.scores, expected.scores)


def test_few_are_scored_again() -> None:
    _, fast = _scores(300, 5, sure=0.0, seed=0)
    assert may_be_chosen(fast, 40, 0.2).sum() < 100
    assert may_be_chosen(fast, 300, 0.2).any(dim=1).all(), "all are chosen"


def test_the_best_is_always_near_itself() -> None:
    _, fast = _scores(50, 3, sure=3.0, seed=1)
    assert near_best(fast, 0.0).gather(1, fast.argmax(dim=1, keepdim=True)).all()
    assert near_best(fast, 100.0).all()


def test_equal_scores_are_near_at_any_distance_in_log_odds() -> None:
    scores = torch.tensor([[-1e-7, -1e-6, -1e-3]])
    assert near_best(scores, 0.1).tolist() == [[True, True, False]]


def test_largest_error() -> None:
    assert largest_error(torch.empty(0), torch.empty(0)) == 0.0
    assert largest_error(torch.tensor([-1e-7]), torch.tensor([-1e-6])) == 0.0
    assert largest_error(torch.tensor([-5.0, -3.0]), torch.tensor([-5.0, -3.5])) == pytest.approx(0.5, rel=0.1)
