import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from rded_core.errors import InputError
from rded_core.networks import ConvNet, build_network, network_names
from rded_core.seeds import seeded_init


def train_logits_shape(name: str, size: int) -> tuple[int, ...]:
    """Builds and runs the network in training mode on torch's meta device: shapes without arithmetic."""
    with torch.device("meta"):
        logits = build_network(name, num_classes=7, size=size).train()(torch.empty(2, 3, size, size))
    assert isinstance(logits, Tensor)
    return tuple(logits.shape)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("convnet3", 32),
        ("convnet3", 28),
        ("convnet4", 64),
        ("convnet5", 128),
        ("convnet6", 100),
        ("resnet18_small", 32),
        ("resnet101_small", 32),
        ("resnet18", 64),
        ("mobilenet_v2", 64),
        ("googlenet", 64),
        ("inception_v3", 96),
        ("vit_b_16", 224),
    ],
)
def test_networks_return_one_row_of_logits_per_image(name: str, size: int) -> None:
    assert train_logits_shape(name, size) == (2, 7)


def test_networks_are_built_for_the_given_size() -> None:
    assert train_logits_shape("vit_b_16", 64) == (2, 7)


@pytest.mark.parametrize(("name", "size"), [("convnet3", 7), ("convnet5", 31), ("alexnet", 32)])
def test_size_that_is_too_small_is_rejected(name: str, size: int) -> None:
    with torch.device("meta"), pytest.raises(InputError, match="size"):
        build_network(name, num_classes=7, size=size)


@pytest.mark.parametrize("name", ["resnet17", "convnet", "convnet0", "convnet7", "vgg11_small", "fcn_resnet50"])
def test_unknown_name_error_lists_the_choices(name: str) -> None:
    assert name not in network_names()
    with (
        torch.device("meta"),
        pytest.raises(InputError, match=rf"unknown network '{name}' .*choose convnet3 .*resnet18"),
    ):
        build_network(name, num_classes=7, size=256)


def test_names_are_unique_and_ours_come_first() -> None:
    names = network_names()
    assert len(set(names)) == len(names)
    assert names[:5] == ["convnet3", "convnet4", "convnet5", "convnet6", "resnet18_small"]
    assert {"resnet18", "vgg11", "swin_v2_t"} <= set(names)


@pytest.mark.parametrize(("name", "count"), [("convnet3", 320_010), ("resnet18_small", 11_173_962)])
def test_parameter_counts_equal_the_literature(name: str, count: int) -> None:
    """For 10 classes at 32 px: the ConvNet of dataset condensation, and the usual CIFAR ResNet-18."""
    with torch.device("meta"):
        network = build_network(name, num_classes=10, size=32)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


def test_small_stem_keeps_the_resolution() -> None:
    with torch.device("meta"):
        stem = nn.Sequential(*list(build_network("resnet18_small", num_classes=7, size=32).children())[:4])
        assert stem(torch.empty(1, 3, 32, 32)).shape == (1, 64, 32, 32)


def test_convnet_block_equals_plain_operations() -> None:
    with seeded_init(0):
        network = ConvNet(depth=1, num_classes=5, size=6, width=4).eval()
        images = torch.rand(3, 3, 6, 6)
    (kernel, bias, scale, shift, mean, variance, _, weight, offset) = network.state_dict().values()
    maps = functional.conv2d(images, kernel, bias, padding=1)
    maps = functional.batch_norm(maps, mean, variance, scale, shift).relu()
    pooled = maps.unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(4, 5))
    with torch.inference_mode():
        torch.testing.assert_close(network(images), pooled.flatten(1) @ weight.T + offset)


def test_weights_come_from_the_global_generator() -> None:
    weights = []
    for seed in (1, 1, 2):
        with seeded_init(seed):
            weights.append(build_network("convnet3", num_classes=2, size=8).state_dict()["classifier.weight"])
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
