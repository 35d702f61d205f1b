"""Any subset of an epoch's views equals the rows of the whole bit for bit, and computes only visible views."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rded_core.labels.view_subsets import choose_views
from rded_core.labels.views import ViewRecipe, Views, apply_views, draw_views, join_views
from rded_core.seeds import counter_generator

SIZE = 15
NUM_VIEWS = 13
STYLE = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
MIXES = ("cutmix", "mixup", "none")


def pictures() -> Tensor:
    generator = counter_generator(0, "pictures")
    return torch.randint(0, 256, (NUM_VIEWS, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)


def epoch_of(mix: str) -> Views:
    """Returns the views of three recorded batches, the last of one view, each batch with its own box or weight."""
    recipe = ViewRecipe(size=SIZE, factor=3, crop_scale_min=0.3, flip=True, mix=mix)
    return join_views([draw_views(recipe, count, counter_generator(0, mix, count)) for count in (8, 4, 1)])


def show(views: Views, chosen: Tensor) -> Tensor:
    needed, made, places = choose_views(views, chosen, SIZE)
    return apply_views(pictures()[needed], made, **STYLE)[places]


@pytest.mark.parametrize("mix", MIXES)
@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.integers(0, NUM_VIEWS - 1), max_size=2 * NUM_VIEWS))
def test_any_subset_in_any_order_equals_the_rows_of_the_whole(mix: str, rows: list[int]) -> None:
    views, chosen = epoch_of(mix), torch.tensor(rows, dtype=torch.int64)
    assert torch.equal(show(views, chosen), apply_views(pictures(), views, **STYLE)[chosen])


@pytest.mark.parametrize("mix", MIXES)
def test_all_views_are_computed_once(mix: str) -> None:
    needed, made, places = choose_views(epoch_of(mix), torch.arange(NUM_VIEWS).flip(0), SIZE)
    assert needed.tolist() == list(range(NUM_VIEWS))
    assert places.tolist() == list(reversed(range(NUM_VIEWS)))
    assert torch.equal(made.mix_position, epoch_of(mix).mix_position)


@pytest.mark.parametrize("mix", ["cutmix", "mixup"])
def test_visible_partner_is_computed_without_its_own_partner(mix: str) -> None:
    views = epoch_of(mix)
    row = next(
        row for row in range(8) if views.mix_position[views.mix_position[row]] not in (row, views.mix_position[row])
    )
    needed, made, places = choose_views(views, torch.tensor([row]), SIZE)
    assert set(needed.tolist()) == {row, int(views.mix_position[row])}
    assert needed[made.mix_position[places]].tolist() == [int(views.mix_position[row])]


def test_invisible_partners_are_not_computed() -> None:
    views = replace(epoch_of("cutmix"), mix_box=torch.zeros(NUM_VIEWS, 4, dtype=torch.int64))
    assert choose_views(views, torch.tensor([5, 2]), SIZE)[0].tolist() == [2, 5]
    assert choose_views(epoch_of("none"), torch.tensor([7]), SIZE)[0].tolist() == [7]
