from dataclasses import fields, replace
from typing import Any
from zlib import crc32

import pytest
import torch
from torch import Tensor

from rded_core.labels.views import ViewRecipe, Views, apply_views, draw_views, join_views, mix_views, partner_share
from rded_core.seeds import counter_generator

RECIPE = ViewRecipe(size=32, factor=2, crop_scale_min=0.5, flip=True, mix="cutmix")
UNCHANGED = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def draw(recipe: ViewRecipe = RECIPE, num_views: int = 8, item: int = 0) -> Views:
    return draw_views(recipe, num_views, counter_generator(0, "views", item))


def identity_views(num_views: int, size: int, factor: int = 1) -> Views:
    """Returns views that change nothing, to vary one field at a time."""
    return Views(
        column_order=torch.arange(factor).expand(num_views, factor),
        row_order=torch.arange(factor).expand(num_views, factor),
        crop_box=torch.tensor([0, 0, size, size]).expand(num_views, 4),
        flip=torch.zeros(num_views, dtype=torch.bool),
        mix_position=torch.arange(num_views),
        mix_box=torch.zeros(num_views, 4, dtype=torch.int64),
        mix_weight=torch.zeros(num_views),
    )


def pictures(num_images: int, size: int) -> Tensor:
    generator = counter_generator(0, "pictures")
    return torch.randint(0, 256, (num_images, 3, size, size), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_orders_are_permutations(factor: int) -> None:
    views = draw(replace(RECIPE, factor=factor), num_views=40)
    for order in (views.column_order, views.row_order):
        assert order.shape == (40, factor)
        assert torch.equal(order.sort(dim=1).values, torch.arange(factor).expand(40, factor))
    assert factor == 1 or not torch.equal(views.column_order, views.row_order)
    assert len(views.row_order.unique(dim=0)) > factor - 1


@pytest.mark.parametrize("crop_scale_min", [0.08, 0.5, 1.0])
def test_crops_lie_inside_with_the_requested_area_and_ratio(crop_scale_min: float) -> None:
    boxes = draw(replace(RECIPE, size=224, crop_scale_min=crop_scale_min), num_views=500).crop_box
    top, left, height, width = boxes.unbind(1)
    assert (torch.stack([top, left]) >= 0).all()
    assert (torch.stack([top + height, left + width]) <= 224).all()
    # Sides are rounded: half a pixel of 60 or more moves areas and ratios by under 2 %.
    assert (height * width >= 0.98 * crop_scale_min * 224**2).all()
    assert (height * width).min() <= 1.1 * crop_scale_min * 224**2
    assert (width / height >= 0.98 * 3 / 4).all()
    assert (width / height <= 1.02 * 4 / 3).all()


def test_crop_that_never_fits_is_the_whole_image() -> None:
    boxes = draw(replace(RECIPE, size=224, crop_scale_min=1.0), num_views=50).crop_box
    assert (boxes == torch.tensor([0, 0, 224, 224])).all(dim=1).any()


def test_half_of_the_views_are_mirrored_unless_flip_is_off() -> None:
    assert 430 < draw(num_views=1000).flip.sum() < 570
    assert not draw(replace(RECIPE, flip=False), num_views=1000).flip.any()


def test_pairing_is_a_permutation_and_the_identity_without_mixing() -> None:
    assert torch.equal(draw().mix_position.sort().values, torch.arange(8))
    unmixed = draw(replace(RECIPE, mix="none"))
    assert torch.equal(unmixed.mix_position, torch.arange(8))
    assert not unmixed.mix_box.any()
    assert not unmixed.mix_weight.any()


def test_cutmix_has_one_box_per_batch_inside_the_view() -> None:
    for item in range(50):
        views = draw(item=item)
        top, left, height, width = views.mix_box[0].tolist()
        assert len(views.mix_box.unique(dim=0)) == 1
        assert 0 <= top <= top + height <= 32
        assert 0 <= left <= left + width <= 32
        assert not views.mix_weight.any()


def test_mixup_has_one_weight_per_batch_and_no_box() -> None:
    weights = [draw(replace(RECIPE, mix="mixup"), item=item).mix_weight for item in range(200)]
    assert all(weight.unique().numel() == 1 for weight in weights)
    assert not draw(replace(RECIPE, mix="mixup")).mix_box.any()
    shares = torch.stack(weights)[:, 0]  # uniform on (0, 1): mean 1/2, standard error 0.02
    assert 0.0 <= shares.min() < 0.05
    assert 0.95 < shares.max() < 1.0
    assert abs(shares.mean() - 0.5) < 0.08


@pytest.mark.parametrize("changes", [{"mix": "none"}, {"mix": "mixup"}, {"flip": False}])
def test_other_settings_do_not_change_shuffle_and_crop(changes: dict[str, Any]) -> None:
    views, other = draw(), draw(replace(RECIPE, **changes))
    assert all(torch.equal(getattr(views, f), getattr(other, f)) for f in ("column_order", "row_order", "crop_box"))


def test_the_generator_alone_decides() -> None:
    before = torch.random.get_rng_state()
    views, again, other = draw(), draw(), draw(item=1)
    assert len(views) == 8
    assert all(torch.equal(getattr(views, f.name), getattr(again, f.name)) for f in fields(Views))
    assert not torch.equal(views.crop_box, other.crop_box)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_identity_views_only_normalise(factor: int) -> None:
    images = pictures(2, 8)
    shown = apply_views(images, identity_views(2, 8, factor), mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0))
    expected = (images / 255.0 - torch.tensor([0.5, 0.25, 0.0]).view(3, 1, 1)) / torch.tensor([0.5, 0.25, 1.0]).view(
        3, 1, 1
    )
    torch.testing.assert_close(shown, expected)


def test_shuffle_by_hand_if_the_factor_does_not_divide_the_size() -> None:
    """Size 8 in three cells: columns 0-1, 2-4, 5-7."""
    image = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8).expand(1, 3, 8, 8)
    views = replace(
        identity_views(1, 8, 3), column_order=torch.tensor([[2, 0, 1]]), row_order=torch.tensor([[1, 2, 0]])
    )
    shown = apply_views(image, views, **UNCHANGED).mul(255).round().to(torch.uint8)
    columns, rows = [5, 6, 7, 0, 1, 2, 3, 4], [2, 3, 4, 5, 6, 7, 0, 1]
    assert shown[0, 0].tolist() == [[8 * row + column for column in columns] for row in rows]


def test_crop_is_taken_from_the_shuffled_image_and_then_mirrored() -> None:
    left_dark = torch.cat([torch.zeros(1, 3, 8, 4), torch.full((1, 3, 8, 4), 255)], dim=3).to(torch.uint8)
    views = replace(
        identity_views(1, 8, 2),
        column_order=torch.tensor([[1, 0]]),
        crop_box=torch.tensor([[0, 0, 8, 6]]),
        flip=torch.tensor([True]),
    )
    shown = apply_views(left_dark, views, **UNCHANGED)[0, 0, 0]
    # Shuffled: white then black; the crop shows 4 white and 2 black columns; mirrored, the black third is on the left.
    assert shown[0] < 0.01
    assert shown[-1] > 0.99
    assert 0.55 < shown.mean() < 0.75


def constant_views(*levels: float, size: int = 4) -> Tensor:
    return torch.tensor(levels, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 3, size, size)


def test_mixup_blends_partners_before_mixing() -> None:
    views = replace(
        identity_views(3, 4), mix_position=torch.tensor([1, 2, 0]), mix_weight=torch.tensor([0.25, 0.25, 0.0])
    )
    mixed = mix_views(constant_views(0.0, 8.0, 4.0), views)
    torch.testing.assert_close(mixed, constant_views(2.0, 7.0, 4.0))


def test_cutmix_pastes_partners_before_mixing() -> None:
    box = torch.tensor([1, 2, 3, 2]).expand(3, 4)
    views = replace(identity_views(3, 4), mix_position=torch.tensor([1, 2, 0]), mix_box=box)
    mixed = mix_views(constant_views(0.0, 1.0, 2.0), views)
    for own, partner, view in zip((0.0, 1.0, 2.0), (1.0, 2.0, 0.0), mixed, strict=True):
        expected = torch.full((3, 4, 4), own)
        expected[:, 1:4, 2:4] = partner
        assert torch.equal(view, expected)


@pytest.mark.parametrize("item", range(8))
def test_partner_share_is_the_area_showing_the_partner(item: int) -> None:
    views = replace(draw(item=item), mix_position=torch.arange(8).roll(1))
    shown = constant_views(*range(8), size=32)
    pasted = (mix_views(shown, views) != shown)[:, 0].float().mean(dim=(1, 2))
    torch.testing.assert_close(partner_share(views, 32), pasted)


def test_partner_share_of_mixup_is_its_weight_and_of_none_is_zero() -> None:
    mixup = draw(replace(RECIPE, mix="mixup"))
    assert torch.equal(partner_share(mixup, 32), mixup.mix_weight)
    assert not partner_share(draw(replace(RECIPE, mix="none")), 32).any()


@pytest.mark.parametrize("mix", ["cutmix", "mixup", "none"])
def test_apply_mixes_the_finished_views(mix: str) -> None:
    images, views = pictures(8, 32), draw(replace(RECIPE, mix=mix), item=2)
    unmixed = apply_views(images, views, **UNCHANGED, mix=False)
    mixed = apply_views(images, views, **UNCHANGED)
    assert torch.equal(mixed, mix_views(unmixed, views))
    assert torch.equal(mixed, unmixed) == (mix == "none")


def test_rows_of_a_batch_are_independent() -> None:
    images, views = pictures(4, 32), draw(replace(RECIPE, mix="none"), num_views=4)
    alone = Views(*(getattr(views, f.name)[2:3] for f in fields(Views)))
    alone = replace(alone, mix_position=torch.tensor([0]))
    assert torch.equal(apply_views(images[2:3], alone, **UNCHANGED)[0], apply_views(images, views, **UNCHANGED)[2])


def test_views_in_blocks_equal_views_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    images, views = pictures(7, 32), draw(num_views=7)
    whole = apply_views(images, views, **UNCHANGED)
    monkeypatch.setattr("rded_core.labels.views.PIXELS_AT_ONCE", 3 * 32 * 32)
    assert torch.equal(apply_views(images, views, **UNCHANGED), whole)


@pytest.mark.parametrize("mix", ["cutmix", "mixup", "none"])
def test_joined_batches_equal_their_parts(mix: str) -> None:
    batches = [draw(replace(RECIPE, mix=mix), num_views=count, item=count) for count in (3, 1, 4)]
    images = pictures(8, 32)
    joined = join_views(batches)
    assert len(joined) == 8
    parts = [
        apply_views(part, views, **UNCHANGED) for part, views in zip(images.split([3, 1, 4]), batches, strict=True)
    ]
    assert torch.equal(apply_views(images, joined, **UNCHANGED), torch.cat(parts))


def test_drawn_views_are_pinned() -> None:
    # A change here means different numbers: bump ALGORITHM_VERSION and say so in CHANGELOG.md.
    views = draw(replace(RECIPE, size=224), num_views=64)
    names = ("column_order", "row_order", "crop_box", "flip", "mix_position", "mix_box")
    digests = {name: crc32(getattr(views, name).contiguous().numpy()) for name in names}
    assert digests == {
        "column_order": 2527218721,
        "row_order": 3310769476,
        "crop_box": 1608825957,
        "flip": 996829420,
        "mix_position": 465194580,
        "mix_box": 82177840,
    }
    assert draw(replace(RECIPE, mix="mixup")).mix_weight[0].item() == pytest.approx(0.8917021, abs=1e-6)


def test_mixup_shares_follow_their_beta_distribution() -> None:
    recipe = replace(RECIPE, mix="mixup")
    shares = torch.stack([draw(recipe, num_views=1, item=item).mix_weight[0] for item in range(4000)])
    assert shares.min() > 0.0
    assert shares.max() < 1.0
    assert shares.mean().item() == pytest.approx(0.5, abs=0.02)
    assert shares.var().item() == pytest.approx(1 / (4 * (2 * 0.8 + 1)), abs=0.005)


def test_applied_views_are_pinned() -> None:
    # As above. Resampling may differ in the last bit between processors, so pixels are compared within a tolerance.
    shown = apply_views(pictures(4, 32), draw(num_views=4), **UNCHANGED)
    assert shown[:, 0, 7, 9].tolist() == pytest.approx([0.174648, 0.516901, 0.283231, 0.835233], abs=1e-5)
