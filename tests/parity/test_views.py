"""Views against plain torchvision operations, and parameters drawn in bulk against torchvision's distribution."""

import math

import pytest
import torch
from torch import Tensor
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional as tv

from rded_core.labels.views import ViewRecipe, Views, apply_views, draw_views
from rded_core.seeds import counter_generator

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def show_plainly(image: Tensor, views: Views, row: int) -> Tensor:
    """Applies patch shuffle by chunks (columns, then rows), resized crop, flip, normalise."""
    factor = views.column_order.shape[1]
    columns = image.float().div(255).chunk(factor, dim=2)
    shuffled = torch.cat([columns[k] for k in views.column_order[row]], dim=2)
    rows = shuffled.chunk(factor, dim=1)
    shuffled = torch.cat([rows[k] for k in views.row_order[row]], dim=1)
    view = tv.resized_crop(shuffled, *views.crop_box[row].tolist(), size=list(image.shape[1:]), antialias=True)
    view = tv.horizontal_flip(view) if views.flip[row] else view
    return tv.normalize(view, list(MEAN), list(STD))


def mix_plainly(shown: list[Tensor], views: Views, row: int) -> Tensor:
    partner, weight = shown[int(views.mix_position[row])], float(views.mix_weight[row])
    top, left, height, width = views.mix_box[row].tolist()
    mixed = (1.0 - weight) * shown[row] + weight * partner
    mixed[:, top : top + height, left : left + width] = partner[:, top : top + height, left : left + width]
    return mixed


@pytest.mark.parametrize("mix", ["cutmix", "mixup", "none"])
@pytest.mark.parametrize(("size", "factor", "crop_scale_min"), [(32, 1, 0.08), (64, 2, 0.5), (48, 3, 1 / 3)])
def test_views_equal_torchvision_operations(mix: str, size: int, factor: int, crop_scale_min: float) -> None:
    recipe = ViewRecipe(size=size, factor=factor, crop_scale_min=crop_scale_min, flip=True, mix=mix)
    generator = counter_generator(0, "pictures")
    images = torch.randint(0, 256, (6, 3, size, size), generator=generator, dtype=torch.uint8)
    views = draw_views(recipe, 6, counter_generator(0, "views"))
    shown = [show_plainly(image, views, row) for row, image in enumerate(images)]
    expected = torch.stack([mix_plainly(shown, views, row) for row in range(6)])
    # 3e-7 of a float 0..1 pixel, over the smallest std.
    torch.testing.assert_close(apply_views(images, views, mean=MEAN, std=STD), expected, rtol=0, atol=3e-7 / min(STD))


@pytest.mark.parametrize("crop_scale_min", [0.08, 0.5, 1.0])
def test_crops_are_distributed_as_in_torchvision(crop_scale_min: float) -> None:
    recipe = ViewRecipe(size=224, factor=1, crop_scale_min=crop_scale_min, flip=True, mix="none")
    ours = draw_views(recipe, 2000, counter_generator(0)).crop_box.double()
    image = torch.empty(3, 224, 224, device="meta")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        drawn = [RandomResizedCrop.get_params(image, [crop_scale_min, 1.0], [3 / 4, 4 / 3]) for _ in range(2000)]
    theirs = torch.tensor(drawn, dtype=torch.float64)
    # Means and spreads of top, left, height and width, within four standard errors of a difference.
    error = theirs.std(dim=0) / math.sqrt(1000)
    assert ((ours.mean(dim=0) - theirs.mean(dim=0)).abs() <= 4 * error).all()
    assert ((ours.std(dim=0) - theirs.std(dim=0)).abs() <= 4 * error).all()
