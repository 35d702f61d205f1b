from collections.abc import Callable

import pytest
import torch

from rded_core.patches.selection import SelectedPatches, best_crops, select_patches, take_first_patches
from rded_core.seeds import counter_generator

SCORES = torch.tensor([[-3.0, -1.0], [-0.5, -2.0], [-9.0, -8.0], [-0.7, -0.6]])


def test_selection_by_hand() -> None:
    selected = select_patches(SCORES, 3)
    assert selected.candidates.tolist() == [1, 3, 0]
    assert selected.crops.tolist() == [0, 1, 1]
    assert torch.equal(selected.scores, torch.tensor([-0.5, -0.6, -1.0]))


def test_first_drawn_crop_wins_among_equal_scores() -> None:
    crops, scores = best_crops(torch.tensor([[-2.0, -1.0, -1.0], [-1.0, -1.0, -1.0]]))
    assert crops.tolist() == [1, 0]
    assert scores.tolist() == [-1.0, -1.0]


def test_equal_candidates_rank_in_draw_order() -> None:
    # A thousand rows: short inputs come out in order even from a sort that is not stable.
    scores = torch.full((1000, 2), -1.0)
    scores[700, 1] = -0.5
    assert select_patches(scores, 500).candidates.tolist() == [700, *range(499)]


def test_each_candidate_yields_at_most_one_patch_and_ranks_fall() -> None:
    scores = -torch.rand(40, 5, generator=counter_generator(0))
    selected = select_patches(scores, 25)
    assert selected.candidates.unique().numel() == 25
    assert (selected.scores.diff() <= 0.0).all()
    assert torch.equal(scores[selected.candidates, selected.crops], selected.scores)
    left_out = torch.ones(40, dtype=torch.bool).index_fill(0, selected.candidates, False)
    assert scores[left_out].max() <= selected.scores[-1]


def test_fewer_patches_are_a_prefix_of_more() -> None:
    few, many = select_patches(SCORES, 2), select_patches(SCORES, 4)
    assert torch.equal(few.candidates, many.candidates[:2])
    assert torch.equal(few.crops, many.crops[:2])


def test_permuted_candidates_give_the_same_patches() -> None:
    order = torch.tensor([2, 0, 3, 1])
    selected, permuted = select_patches(SCORES, 3), select_patches(SCORES[order], 3)
    assert torch.equal(order[permuted.candidates], selected.candidates)
    assert torch.equal(permuted.crops, selected.crops)


def test_scores_of_minus_infinity_rank_last() -> None:
    scores = torch.tensor([[-torch.inf, -torch.inf], [-90.0, -torch.inf]])
    assert select_patches(scores, 2).candidates.tolist() == [1, 0]


def test_nan_score_is_an_error() -> None:
    with pytest.raises(ValueError, match="the observer returned a NaN score"):
        select_patches(torch.tensor([[-1.0, float("nan")], [-2.0, -3.0]]), 1)


@pytest.mark.parametrize("select", [lambda n: select_patches(SCORES, n), lambda n: take_first_patches(4, n)])
def test_more_patches_than_candidates_is_an_error(select: Callable[[int], SelectedPatches]) -> None:
    assert len(select(4).candidates) == 4
    with pytest.raises(ValueError, match="num_patches must be <= the number of candidates, 4, got 5"):
        select(5)


def test_controls_keep_the_first_crop_of_the_first_candidates() -> None:
    selected = take_first_patches(9, 3)
    assert selected.candidates.tolist() == [0, 1, 2]
    assert selected.crops.tolist() == [0, 0, 0]
    assert selected.scores.isnan().all()
