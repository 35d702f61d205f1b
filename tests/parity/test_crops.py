"""Crops against torchvision itself."""

import pytest
import torch
from torch import Tensor
from torchvision.transforms import CenterCrop, Compose, RandomResizedCrop, Resize, ToTensor
from torchvision.transforms.v2 import functional as tv

from rded_core.patches.crops import cut_patches, draw_crop_box, draw_crop_boxes, fit_centre, normalise
from rded_core.seeds import counter_generator

SQUARE, DEFAULT = (1.0, 1.0), (3 / 4, 4 / 3)
SIZES = [(1, 1), (2, 3), (8, 5), (5, 8), (32, 32), (64, 64), (37, 53), (224, 224), (500, 375), (333, 500), (2000, 1500)]
EXTREME = [(1, 50), (500, 3), (10, 500), (64, 8), (90, 1000)]


def torchvision_boxes(
    height: int, width: int, seed: int, *, num_crops: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> list[tuple[int, int, int, int]]:
    image = torch.empty(3, height, width, device="meta")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return [tuple(RandomResizedCrop.get_params(image, list(scale), list(ratio))) for _ in range(num_crops)]


def picture(height: int, width: int) -> Tensor:
    generator = counter_generator(0, "picture")
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


def to_tensor(image: Tensor) -> Tensor:
    return ToTensor()(image.permute(1, 2, 0).numpy())


@pytest.mark.parametrize(("height", "width"), SIZES + EXTREME)
@pytest.mark.parametrize(
    ("scale", "ratio"),
    [((0.08, 1.0), SQUARE), ((0.08, 1.0), DEFAULT), ((0.5, 1.0), DEFAULT), ((0.9, 1.0), (0.5, 2.0))],
)
def test_equal_seeds_give_equal_boxes(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> None:
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        boxes = [draw_crop_box(height, width, generator, scale=scale, ratio=ratio) for _ in range(3)]
        assert boxes == torchvision_boxes(height, width, seed, num_crops=3, scale=scale, ratio=ratio)


@pytest.mark.parametrize(("height", "width"), SIZES + EXTREME)
def test_all_boxes_of_a_candidate_are_equal(height: int, width: int) -> None:
    boxes = draw_crop_boxes(height, width, torch.Generator().manual_seed(7), num_crops=5, scale=(0.08, 1.0))
    expected = torchvision_boxes(height, width, 7, num_crops=5, scale=(0.08, 1.0), ratio=SQUARE)
    assert [tuple(box) for box in boxes.tolist()] == expected


@pytest.mark.parametrize(("height", "width"), [(120, 150), (32, 32), (333, 97)])
@pytest.mark.parametrize("patch_px", [16, 32, 75, 112])
def test_patches_equal_crops_of_the_float_image(height: int, width: int, patch_px: int) -> None:
    """Bit for bit, tighter than the usual 3e-7: a single last bit may change a truncated pixel of the mosaic."""
    image = picture(height, width)
    boxes = draw_crop_boxes(height, width, counter_generator(1), num_crops=6, scale=(0.08, 1.0))
    whole = to_tensor(image)
    expected = [tv.resized_crop(whole, *box, size=[patch_px] * 2, antialias=True) for box in boxes.tolist()]
    assert torch.equal(cut_patches(image, boxes, patch_px), torch.stack(expected))


def test_patches_of_a_channels_last_image_agree_too() -> None:
    image = picture(120, 150)
    boxes = draw_crop_boxes(120, 150, counter_generator(1), num_crops=6, scale=(0.08, 1.0))
    strided = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    torch.testing.assert_close(cut_patches(strided, boxes, 75), cut_patches(image, boxes, 75), rtol=0, atol=3e-7)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (40, 61), (75, 50), (500, 375), (9, 200)])
@pytest.mark.parametrize(("size", "resize_px"), [(32, 32), (32, 36), (31, 36), (56, 64)])
def test_fit_centre_equals_resize_and_centre_crop(height: int, width: int, size: int, resize_px: int) -> None:
    image = picture(height, width)
    transform = Compose([ToTensor(), Resize(resize_px, antialias=True), CenterCrop(size)])
    expected = transform(image.permute(1, 2, 0).numpy())
    torch.testing.assert_close(fit_centre(image, size, resize_px=resize_px), expected, rtol=0, atol=3e-7)


def test_normalise_equals_torchvision() -> None:
    images = torch.rand(4, 3, 9, 7, generator=counter_generator(0))
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    assert torch.equal(normalise(images, mean, std), tv.normalize(images, list(mean), list(std)))
