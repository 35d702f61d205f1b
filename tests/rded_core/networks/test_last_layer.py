"""A classifier whose logits are one linear layer of its features is split into two parts with the same logits."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from rded_core.networks import build_network
from rded_core.networks.last_layer import split_last_layer
from rded_core.seeds import counter_generator, seeded_init

IMAGES = torch.randn(3, 3, 32, 32, generator=counter_generator(0))


def _build(name: str) -> nn.Module:
    with seeded_init(3):
        return build_network(name, num_classes=6, size=32).eval()


@pytest.mark.parametrize("name", ["convnet3", "resnet18_small", "mobilenet_v2", "shufflenet_v2_x0_5"])
def test_parts_give_the_logits(name: str) -> None:
    network = _build(name)
    with torch.inference_mode():
        split = split_last_layer(network, IMAGES, columns=[4, 0])
        assert split is not None
        logits = functional.linear(split.trunk(IMAGES), split.weight, split.bias)
        torch.testing.assert_close(logits, network(IMAGES)[:, [4, 0]], atol=1e-5, rtol=1e-5)
        assert network(IMAGES).shape == (3, 6), "the network itself is not changed"


class _Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * 32 * 32, 6)

    def forward(self, images: Tensor) -> Tensor:
        return 2 * self.linear(images.flatten(1))


class _Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.linear = nn.Linear(3 * 32 * 32, 6), nn.Linear(6, 6)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(self.linear(self.first(images.flatten(1))))


class _Convolved(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Conv2d(3, 6, 32)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(images).flatten(1)


@pytest.mark.parametrize("make", [_Scaled, _Twice, _Convolved])
def test_networks_with_another_ending_are_not_split(make: type[nn.Module]) -> None:
    with seeded_init(3):
        assert split_last_layer(make().eval(), IMAGES) is None


def test_hooks_are_removed() -> None:
    network = _build("convnet3")
    split_last_layer(network, IMAGES)
    assert not any(module._forward_hooks for module in network.modules())


def test_layer_without_bias_gets_zeros() -> None:
    with seeded_init(3):
        network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4, bias=False)).eval()
    split = split_last_layer(network, IMAGES)
    assert split is not None
    assert split.bias.tolist() == [0.0] * 4


class _Clipped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * 32 * 32, 6)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(images.flatten(1)).clamp(-20.0, 20.0)


class _Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = self.second = nn.Linear(3 * 32 * 32, 6)

    def forward(self, images: Tensor) -> Tensor:
        return self.second(images.flatten(1))


class _Inspected(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3 * 32 * 32, 6)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.flatten(1).to(self.head.weight.dtype))


@pytest.mark.parametrize("make", [_Clipped, _Shared, _Inspected])
def test_networks_whose_parts_give_other_logits_are_not_split(make: type[nn.Module]) -> None:
    with seeded_init(3):
        assert split_last_layer(make().eval(), IMAGES) is None
