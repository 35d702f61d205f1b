"""Patches cut with banded matrices equal those of `cut_patches`, for images of several sizes in one batch."""

import pytest
import torch
from torch import Tensor

from rded_core.patches.crop_batches import cut_patch_batches, resize_weights
from rded_core.patches.crops import cut_patches, draw_crop_boxes


def _image(height: int, width: int, seed: int) -> Tensor:
    drawn = torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(seed))
    return drawn.to(torch.uint8)


def _packed(images: list[Tensor]) -> Tensor:
    height, width = (max(image.shape[side] for image in images) for side in (1, 2))
    packed = torch.full((len(images), height, width, 3), 77, dtype=torch.uint8)
    for place, image in enumerate(images):
        packed[place, : image.shape[1], : image.shape[2]] = image.permute(1, 2, 0)
    return packed


@pytest.mark.parametrize("patch_px", [8, 32, 112])
@pytest.mark.parametrize("sizes", [[(32, 32)], [(375, 500), (500, 333), (120, 640)], [(9, 200), (64, 8)], [(1, 1)]])
def test_patches_equal_those_cut_one_by_one(sizes: list[tuple[int, int]], patch_px: int) -> None:
    images = [_image(height, width, seed) for seed, (height, width) in enumerate(sizes)]
    generator = torch.Generator().manual_seed(3)
    boxes = [draw_crop_boxes(*image.shape[1:], generator, num_crops=5, scale=(0.08, 1.0)) for image in images]
    found = cut_patch_batches(_packed(images), torch.stack(boxes), patch_px)
    expected = torch.stack([cut_patches(image, each, patch_px) for image, each in zip(images, boxes, strict=True)])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_weights_of_a_box_lie_inside_it_and_sum_to_one() -> None:
    weights = resize_weights(torch.tensor([[3, 0]]), torch.tensor([[4, 10]]), 2, 10)
    assert weights.shape == (1, 2, 2, 10)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(1, 2, 2))
    assert not weights[0, 0, :, [0, 1, 2, 7, 8, 9]].any()
    # Four pixels to two: a triangle of half-width 2 around 1 has weights 0.25, 0.75, 0.75, 0.25, cut off at the border.
    torch.testing.assert_close(weights[0, 0, 0, 3:7], torch.tensor([0.75, 0.75, 0.25, 0.0]) / 1.75)


def test_a_box_as_large_as_the_patch_is_copied() -> None:
    image = _image(20, 30, 0)
    found = cut_patch_batches(_packed([image]), torch.tensor([[[5, 7, 8, 8]]]), 8)
    torch.testing.assert_close(found[0, 0], image[:, 5:13, 7:15] / 255.0, rtol=0, atol=1e-7)
