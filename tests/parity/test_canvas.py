"""The canvas shortcut against the plain network on the padded canvas: the same logits for every architecture."""

from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn

from rded_core.networks.canvas import CanvasNetwork
from rded_core.patches.realism import pad_to_canvas
from rded_core.seeds import seeded_init

NETWORKS = [
    *("resnet18", "resnet50", "vgg11_bn", "mobilenet_v2", "mobilenet_v3_small", "densenet121", "squeezenet1_1"),
    *("efficientnet_b0", "shufflenet_v2_x0_5", "googlenet", "alexnet", "regnet_y_400mf"),
]


def _normalised(num_patches: int, patch_px: int) -> Tensor:
    return torch.randn(num_patches, 3, patch_px, patch_px, generator=torch.Generator().manual_seed(1))


def _trained_like(build: Callable[[], nn.Module]) -> nn.Module:
    """Returns a network whose BatchNorm statistics, scales and shifts differ from their initial values."""
    with seeded_init(0):
        network = build().eval()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                for values, low, high in (
                    (module.running_mean, -0.2, 0.2),
                    (module.running_var, 0.5, 2.0),
                    (module.weight, 0.5, 1.5),
                    (module.bias, -0.2, 0.2),
                ):
                    assert values is not None
                    nn.init.uniform_(values, low, high)
    return network


def _check(network: nn.Module, *, patch_px: int, size: int) -> CanvasNetwork:
    patches = _normalised(3, patch_px)
    canvas = CanvasNetwork(network, patch_px=patch_px, size=size)
    with torch.inference_mode():
        expected, logits = network(pad_to_canvas(patches, size)), canvas(patches)
    scale = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5 * scale)
    return canvas


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_equal_the_plain_networks(name: str) -> None:
    options = {"init_weights": False} if name == "googlenet" else {}
    network = _trained_like(lambda: torchvision.models.get_model(name, weights=None, num_classes=7, **options))
    canvas = _check(network, patch_px=64, size=128)
    assert canvas.shortcut, "torch.fx traces all of torchvision's convolutional classifiers"


@pytest.mark.parametrize(
    ("patch_px", "size"), [(128, 128), (64, 128), (42, 128), (43, 128), (32, 128), (33, 96), (8, 65)]
)
def test_any_patch_in_any_canvas(patch_px: int, size: int) -> None:
    network = _trained_like(lambda: torchvision.models.resnet18(num_classes=5))
    assert _check(network, patch_px=patch_px, size=size).shortcut


class _Branching(nn.Module):
    """Joins of unequal windows, a strided shortcut, dilation, groups, and pooling of all kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 5, stride=2, padding=1)
        self.wide = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4)
        self.narrow = nn.Conv2d(8, 8, 1)
        self.pools = nn.ModuleList([nn.MaxPool2d(3, 2, ceil_mode=True), nn.AvgPool2d(2), nn.MaxPool2d(2, 2, padding=1)])
        self.head = nn.Linear(16, 4)

    def forward(self, images: Tensor) -> Tensor:
        maps = torch.relu(self.stem(images))
        maps = self.wide(maps) + self.narrow(maps)
        maps = torch.cat([maps, torch.sigmoid(self.narrow(maps))], dim=1)
        for pool in self.pools:
            maps = pool(maps)
        return self.head(maps.mean(dim=(2, 3)))


def test_joins_of_unequal_windows() -> None:
    assert _check(_trained_like(_Branching), patch_px=24, size=96).shortcut


class _Untraceable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images)
        return maps.mean(dim=(2, 3)) if maps.sum() > -1e9 else maps.amax(dim=(2, 3))


class _WhiteOutside(nn.Module):
    """Depends on the batch as a whole, which windows must not break."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images - images.mean(dim=(0, 2, 3), keepdim=True)).mean(dim=(2, 3))


class _Unstable(nn.Module):
    """Returns different logits at every call: no trace can replace it."""

    calls = 0

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        type(self).calls += 1
        return self.conv(images).mean(dim=(2, 3)) * self.calls


class _Asserting(_Untraceable):
    def forward(self, images: Tensor) -> Tensor:
        assert isinstance(images, Tensor)
        return self.conv(images).mean(dim=(2, 3))


class _HiddenLayer(nn.Module):
    """Hides a layer from nn.Module and from fx."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.hidden = [nn.ReLU()]

    def forward(self, images: Tensor) -> Tensor:
        return self.hidden[0](self.conv(images)).mean(dim=(2, 3))


class _OptionalMask(_Untraceable):
    def forward(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        maps = self.conv(images)
        return (maps * mask.unsqueeze(1) if mask is not None else maps).mean(dim=(2, 3))


class _FiveDimensions(_Untraceable):
    """Tracing stores its constant as a buffer that has no channels-last format."""

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images).mean(dim=(2, 3)) + torch.ones(1, 1, 1, 1, 4).sum((0, 1, 2, 3))


@pytest.mark.parametrize("network", [_Untraceable, _Asserting, _HiddenLayer, _OptionalMask, _FiveDimensions])
def test_untraceable_networks_run_unchanged(network: type[nn.Module]) -> None:
    canvas = _check(_trained_like(network), patch_px=8, size=16)
    assert canvas.shortcut is (network is _FiveDimensions)


def test_scripted_networks_run_unchanged() -> None:
    scripted = torch.jit.trace(_trained_like(_HiddenLayer), torch.zeros(1, 3, 16, 16))
    assert not _check(scripted, patch_px=8, size=16).shortcut  # pyright: ignore[reportArgumentType]


def test_unsupported_operations_run_on_the_whole_map() -> None:
    assert _check(_trained_like(_WhiteOutside), patch_px=8, size=16).shortcut


def test_a_trace_that_gives_other_logits_is_not_used() -> None:
    assert not CanvasNetwork(_trained_like(_Unstable), patch_px=8, size=16).shortcut


def test_original_network_is_not_changed() -> None:
    network = _trained_like(lambda: torchvision.models.mobilenet_v2(num_classes=3))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    CanvasNetwork(network, patch_px=32, size=64)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert any(getattr(module, "inplace", False) for module in network.modules())


def test_rows_do_not_affect_each_other() -> None:
    canvas = CanvasNetwork(_trained_like(lambda: torchvision.models.resnet18(num_classes=5)), patch_px=32, size=64)
    patches = _normalised(4, 32)
    with torch.inference_mode():
        torch.testing.assert_close(canvas(patches)[2:3], canvas(patches[2:3]), rtol=0, atol=1e-5)
