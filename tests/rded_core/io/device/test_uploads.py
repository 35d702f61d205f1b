"""Copying tensors to a device: the values stay the same."""

import pytest
import torch

from rded_core.io.device import uploads
from rded_core.io.device.uploads import keep_on_device, take_rows, upload_views
from rded_core.labels.views import ViewRecipe, Views, apply_views, draw_views

CPU = torch.device("cpu")


def test_rows_are_the_same_from_memory_and_from_the_device() -> None:
    images, rows, device = torch.arange(60, dtype=torch.uint8).view(5, 3, 2, 2), torch.tensor([4, 0, 4]), CPU
    assert torch.equal(take_rows(keep_on_device(images, device), rows, device), images[rows])


def test_views_are_moved_field_by_field() -> None:
    recipe = ViewRecipe(size=8, factor=2, crop_scale_min=0.5, flip=True, mix="cutmix")
    views = draw_views(recipe, 3, torch.Generator().manual_seed(0))
    moved = upload_views(views, CPU)
    assert all(torch.equal(getattr(moved, name), getattr(views, name)) for name in Views.__slots__)


def test_sets_above_the_limit_are_not_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "KEPT_BYTES", 11)
    images, meta = torch.zeros(1, 3, 2, 2, dtype=torch.uint8), torch.device("meta")
    assert keep_on_device(images, meta) is images
    assert keep_on_device(images[..., :1], meta).device == meta


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_views_made_on_a_gpu_equal_those_of_the_cpu() -> None:
    device = torch.device("cuda")
    recipe = ViewRecipe(size=224, factor=2, crop_scale_min=0.5, flip=True, mix="cutmix")
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 3, 224, 224), dtype=torch.uint8, generator=generator)
    views, rows = draw_views(recipe, 30, generator), torch.randperm(40, generator=generator)[:30]
    style = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    kept = keep_on_device(images, device)
    made = apply_views(take_rows(kept, rows, device), upload_views(views, device), **style)
    assert torch.equal(take_rows(images, rows, device), take_rows(kept, rows, device))
    torch.testing.assert_close(made.cpu(), apply_views(images[rows], views, **style), rtol=0, atol=2e-6)
