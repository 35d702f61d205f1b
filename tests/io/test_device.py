"""Devices by name."""

import pytest
import torch

from rded_core.errors import InputError
from rded_core.io import device as device_module
from rded_core.io.device import keep_on_device, num_available_cores, resolve_device, take_rows, upload_views
from rded_core.views import ViewRecipe, Views, apply_views, draw_views

CPU = torch.device("cpu")


def without_accelerators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def test_cpu_is_the_cpu() -> None:
    assert resolve_device("cpu") == torch.device("cpu")


def test_auto_takes_the_cpu_where_nothing_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    without_accelerators(monkeypatch)
    assert resolve_device("auto") == torch.device("cpu")


def test_tf32_is_switched_off() -> None:
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    resolve_device("cpu")
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("name", ["gpu", "tpu9", "", "cuda:x", "cpu;", "xla", "hpu", "vulkan"])
def test_unknown_devices_are_errors(name: str) -> None:
    with pytest.raises(InputError, match=r"cannot be used here \(.+\); try --device auto or cpu"):
        resolve_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7"])
def test_absent_cuda_is_an_error_that_names_it(name: str) -> None:
    with pytest.raises(InputError, match=f"device '{name}' cannot be used here"):
        resolve_device(name)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_auto_takes_cuda_and_a_missing_card_is_an_error() -> None:
    assert resolve_device("auto").type == "cuda"
    with pytest.raises(InputError, match="cannot be used here"):
        resolve_device(f"cuda:{torch.cuda.device_count()}")


def test_there_is_at_least_one_core() -> None:
    assert num_available_cores() >= 1


def test_rows_are_the_same_from_memory_and_from_the_device() -> None:
    images, rows, device = torch.arange(60, dtype=torch.uint8).view(5, 3, 2, 2), torch.tensor([4, 0, 4]), CPU
    assert torch.equal(take_rows(keep_on_device(images, device), rows, device), images[rows])


def test_views_are_moved_field_by_field() -> None:
    recipe = ViewRecipe(size=8, factor=2, crop_scale_min=0.5, flip=True, mix="cutmix")
    views = draw_views(recipe, 3, torch.Generator().manual_seed(0))
    moved = upload_views(views, CPU)
    assert all(torch.equal(getattr(moved, name), getattr(views, name)) for name in Views.__slots__)


def test_sets_above_the_limit_stay_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "KEPT_BYTES", 11)
    images, meta = torch.zeros(1, 3, 2, 2, dtype=torch.uint8), torch.device("meta")
    assert keep_on_device(images, meta) is images
    assert keep_on_device(images[..., :1], meta).device == meta


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_views_made_on_a_gpu_equal_those_of_the_cpu() -> None:
    device = torch.device("cuda")
    recipe = ViewRecipe(size=224, factor=2, crop_scale_min=0.5, flip=True, mix="cutmix")
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 3, 224, 224), dtype=torch.uint8, generator=generator)
    views, rows = draw_views(recipe, 30, generator), torch.randperm(40, generator=generator)[:30]
    style = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    kept = keep_on_device(images, device)
    found = apply_views(take_rows(kept, rows, device), upload_views(views, device), **style)
    assert torch.equal(take_rows(images, rows, device), take_rows(kept, rows, device))
    torch.testing.assert_close(found.cpu(), apply_views(images[rows], views, **style), rtol=0, atol=2e-6)
