from zlib import crc32

import pytest
import torch
from torch import Tensor

from rded_core.patches.crops import (
    centre_box,
    cut_patch,
    cut_patches,
    draw_crop_box,
    draw_crop_boxes,
    fit_centre,
    normalise,
)
from rded_core.seeds import counter_generator

SIZES = [(1, 1), (32, 32), (37, 53), (500, 375), (10, 500), (300, 4)]


def picture(height: int, width: int) -> Tensor:
    generator = counter_generator(0, "picture")
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_boxes_lie_inside_the_image_and_are_square(height: int, width: int) -> None:
    boxes = draw_crop_boxes(height, width, counter_generator(0), num_crops=40, scale=(0.08, 1.0))
    top, left, box_height, box_width = boxes.unbind(1)
    assert boxes.shape == (40, 4)
    assert boxes.dtype == torch.int64
    assert torch.equal(box_height, box_width)
    assert (box_height >= 1).all()
    assert (torch.stack([top, left]) >= 0).all()
    assert (top + box_height <= height).all()
    assert (left + box_width <= width).all()


def test_box_areas_fill_the_scale() -> None:
    boxes = draw_crop_boxes(100, 100, counter_generator(0), num_crops=300, scale=(0.25, 0.81))
    side = boxes[:, 2]
    assert side.min() >= 50
    assert side.min() <= 52
    assert side.max() <= 90
    assert side.max() >= 88


def test_ratio_is_width_over_height() -> None:
    box = draw_crop_box(400, 400, counter_generator(0), scale=(0.1, 0.1), ratio=(4.0, 4.0))
    assert box[2:] == (63, 253)  # sqrt(16000 / 4), sqrt(16000 * 4)


def test_more_crops_continue_the_same_sequence() -> None:
    few, many = (draw_crop_boxes(50, 60, counter_generator(1), num_crops=n, scale=(0.08, 1.0)) for n in (3, 5))
    assert torch.equal(few, many[:3])
    assert len(many.unique(dim=0)) == 5


def test_boxes_come_from_the_given_generator_only() -> None:
    before = torch.random.get_rng_state()
    draw_crop_boxes(50, 60, counter_generator(1), num_crops=2, scale=(0.08, 1.0))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_full_scale_of_a_square_is_the_whole_image() -> None:
    assert draw_crop_box(33, 33, counter_generator(0), scale=(1.0, 1.0)) == (0, 0, 33, 33)


def test_box_that_never_fits_falls_back_to_the_centre() -> None:
    assert draw_crop_box(10, 500, counter_generator(0), scale=(0.08, 1.0)) == (0, 245, 10, 10)


@pytest.mark.parametrize(
    ("height", "width", "ratio", "expected"),
    [
        (10, 30, (1.0, 1.0), (0, 10, 10, 10)),
        (31, 10, (1.0, 1.0), (10, 0, 10, 10)),  # odd remainder: the smaller half above
        (10, 13, (1.0, 1.0), (0, 1, 10, 10)),
        (30, 90, (3 / 4, 4 / 3), (0, 25, 30, 40)),
        (90, 30, (3 / 4, 4 / 3), (25, 0, 40, 30)),
        (30, 35, (3 / 4, 4 / 3), (0, 0, 30, 35)),
        (1, 1000, (3 / 4, 4 / 3), (0, 499, 1, 1)),
    ],
)
def test_centre_box(height: int, width: int, ratio: tuple[float, float], expected: tuple[int, int, int, int]) -> None:
    assert centre_box(height, width, ratio=ratio) == expected


def test_box_of_the_output_size_keeps_its_pixels() -> None:
    image = picture(20, 30)
    patch = cut_patch(image, torch.tensor([3, 5, 8, 9]), 8, 9)
    assert torch.equal(patch, image[:, 3:11, 5:14].float() / 255.0)


def test_halving_weighs_pixels_by_the_antialiasing_triangle() -> None:
    columns = torch.tensor([0, 0, 255, 255], dtype=torch.uint8).expand(3, 4, 4)
    patch = cut_patch(columns, torch.tensor([0, 0, 4, 4]), 2, 2)
    # Triangle of half-width 2 px around x = 1: weights 3/4, 3/4, 1/4 of pixels 0, 1, 2, over their sum 7/4.
    torch.testing.assert_close(patch, torch.tensor([1 / 7, 6 / 7]).expand(3, 2, 2))


@pytest.mark.parametrize(("height_px", "width_px"), [(16, 16), (75, 74), (1, 5)])
def test_patch_has_the_requested_shape_and_range(height_px: int, width_px: int) -> None:
    patch = cut_patch(picture(40, 50), torch.tensor([2, 3, 31, 29]), height_px, width_px)
    assert patch.shape == (3, height_px, width_px)
    assert patch.dtype == torch.float32
    assert 0.0 <= patch.min() < patch.max() <= 1.0


def test_constant_window_stays_constant_regardless_of_its_surroundings() -> None:
    image = picture(40, 50)
    image[:, 4:25, 6:27] = 51
    patch = cut_patch(image, torch.tensor([4, 6, 21, 21]), 13, 16)
    torch.testing.assert_close(patch, torch.full((3, 13, 16), 0.2))


def test_cutting_commutes_with_mirroring() -> None:
    image = picture(40, 50)
    patch = cut_patch(image, torch.tensor([1, 3, 30, 20]), 12, 12)
    mirrored = cut_patch(image.flip(-1), torch.tensor([1, 50 - 3 - 20, 30, 20]), 12, 12)
    torch.testing.assert_close(mirrored.flip(-1), patch)


def test_patches_follow_the_order_of_their_boxes() -> None:
    image, order = picture(40, 50), torch.tensor([2, 0, 3, 1])
    boxes = draw_crop_boxes(40, 50, counter_generator(0), num_crops=4, scale=(0.08, 1.0))
    patches = cut_patches(image, boxes, 16)
    assert patches.shape == (4, 3, 16, 16)
    assert torch.equal(cut_patches(image, boxes[order], 16), patches[order])
    assert torch.equal(patches[3], cut_patch(image, boxes[3], 16, 16))


@pytest.mark.parametrize(("height", "width"), [(20, 20), (20, 33), (47, 20), (9, 30)])
@pytest.mark.parametrize(("size", "resize_px"), [(16, 16), (16, 18), (15, 20)])
def test_fit_centre_has_the_requested_size(height: int, width: int, size: int, resize_px: int) -> None:
    fitted = fit_centre(picture(height, width), size, resize_px=resize_px)
    assert fitted.shape == (3, size, size)
    assert 0.0 <= fitted.min() < fitted.max() <= 1.0


def test_fit_centre_without_resizing_is_the_central_square() -> None:
    image = picture(20, 33)
    assert torch.equal(fit_centre(image, 20, resize_px=20), image[:, :, 6:26].float() / 255.0)
    assert torch.equal(fit_centre(image, 10, resize_px=20), image[:, 5:15, 12:22].float() / 255.0)


def test_normalise_by_hand_for_any_leading_axes() -> None:
    image = torch.tensor([0.5, 0.4, 0.9]).view(3, 1, 1).expand(3, 2, 2)
    expected = torch.tensor([0.0, -1.0, 2.0]).view(3, 1, 1).expand(3, 2, 2)
    mean, std = (0.5, 0.6, 0.4), (0.1, 0.2, 0.25)
    torch.testing.assert_close(normalise(image, mean, std), expected)
    torch.testing.assert_close(normalise(image.expand(5, 4, 3, 2, 2), mean, std), expected.expand(5, 4, 3, 2, 2))


def test_crop_boxes_are_pinned() -> None:
    # A change here means different numbers: bump ALGORITHM_VERSION and say so in CHANGELOG.md.
    boxes = draw_crop_boxes(375, 500, counter_generator(0, "crops", 0, 0), num_crops=64, scale=(0.08, 1.0))
    assert boxes[:2].tolist() == [[105, 73, 263, 263], [11, 61, 304, 304]]
    assert crc32(boxes.numpy()) == 3436975031


def test_patches_are_pinned() -> None:
    # As above. Resampling may differ in the last bit between processors, so pixels are compared within a tolerance.
    patches = cut_patches(picture(40, 50), torch.tensor([[0, 0, 40, 40], [7, 11, 9, 9]]), 2)
    expected = [0.506242, 0.498085, 0.500143, 0.496878, 0.540353, 0.605518, 0.623934, 0.598569]
    assert patches[:, 0].flatten().tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (375, 500), (1, 1), (2, 900), (1300, 11), (64, 65)])
@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.5, 1.0), (1.0, 1.0), (0.01, 0.02)])
def test_boxes_drawn_in_bulk_equal_boxes_drawn_one_by_one(height: int, width: int, scale: tuple[float, float]) -> None:
    for seed in range(40):
        one_by_one = torch.Generator().manual_seed(seed * 2**33 + 7)
        expected = [draw_crop_box(height, width, one_by_one, scale=scale) for _ in range(7)]
        together = torch.Generator().manual_seed(seed * 2**33 + 7)
        found = draw_crop_boxes(height, width, together, num_crops=7, scale=scale)
        assert [tuple(box) for box in found.tolist()] == expected


@pytest.mark.parametrize(("seed", "height", "width"), [(7, 337, 305), (10, 760, 423), (21, 705, 491)])
def test_shares_are_rounded_as_in_torch(seed: int, height: int, width: int) -> None:
    """In these draws the last bit decides: the bounds are rounded to float32 before the share."""
    expected = draw_crop_box(height, width, torch.Generator().manual_seed(seed), scale=(0.08, 1.0))
    found = draw_crop_boxes(height, width, torch.Generator().manual_seed(seed), num_crops=1, scale=(0.08, 1.0))
    assert tuple(found[0].tolist()) == expected


def test_many_shares_equal_those_of_torch() -> None:
    generator = torch.Generator().manual_seed(3)
    boxes = draw_crop_boxes(3001, 3001, generator, num_crops=4000, scale=(0.08, 1.0)).tolist()
    one_by_one = torch.Generator().manual_seed(3)
    assert boxes == [list(draw_crop_box(3001, 3001, one_by_one, scale=(0.08, 1.0))) for _ in range(4000)]
