"""Winograd convolutions give the same maps as plain 3 x 3 convolutions, for all sizes."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from rded_core.networks.winograd import BLOCK_TILES, WinogradConv2d
from rded_core.seeds import seeded_init


def _convolution(**options: object) -> nn.Conv2d:
    settings = {"in_channels": 128, "out_channels": 130, "kernel_size": 3, "padding": 1, **options}
    with seeded_init(0):
        return nn.Conv2d(**settings).requires_grad_(False)  # pyright: ignore[reportArgumentType]


def _maps(batch: int, height: int, width: int, channels: int = 128) -> torch.Tensor:
    drawn = torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(1))
    return drawn.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("height", "width"), [(3, 3), (4, 4), (3, 7), (7, 7), (8, 5), (14, 14), (23, 9), (56, 56)])
@pytest.mark.parametrize("padding", [0, 1, 2, (2, 0)])
def test_maps_equal_the_plain_convolution(height: int, width: int, padding: int | tuple[int, int]) -> None:
    convolution = _convolution(padding=padding)
    maps = _maps(2, height, width)
    result = WinogradConv2d(convolution)(maps)
    exact = functional.conv2d(maps.double(), convolution.weight.double(), _bias(convolution).double(), padding=padding)
    assert result.shape == exact.shape
    assert result.is_contiguous(memory_format=torch.channels_last)
    plain_error = float((convolution(maps) - exact).abs().max())
    assert float((result - exact).abs().max()) <= max(8 * plain_error, 1e-5)


def _bias(convolution: nn.Conv2d) -> torch.Tensor:
    assert convolution.bias is not None
    return convolution.bias


def test_blocks_join_seamlessly() -> None:
    # 60 x 60 outputs are 225 tiles, more than one block; 40 images of one tile need one block, 200 two.
    module = WinogradConv2d(_convolution())
    large = _maps(2, 60, 60)
    assert BLOCK_TILES < 15 * 15
    torch.testing.assert_close(module(large), _convolution()(large), rtol=0, atol=2e-5)
    many = _maps(200, 4, 4)
    torch.testing.assert_close(module(many), _convolution()(many), rtol=0, atol=2e-5)


def test_valid_omits_the_border() -> None:
    module = WinogradConv2d(_convolution())
    maps = _maps(1, 9, 12)
    assert module.valid(maps).shape == (1, 130, 7, 10)
    torch.testing.assert_close(module.valid(maps), module(maps)[:, :, 1:-1, 1:-1], rtol=0, atol=2e-5)


def test_convolution_without_bias() -> None:
    convolution, maps = _convolution(bias=False), _maps(1, 6, 6)
    torch.testing.assert_close(WinogradConv2d(convolution)(maps), convolution(maps), rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 5},
        {"stride": 2},
        {"dilation": 2},
        {"groups": 2},
        {"padding": "same"},
        {"padding_mode": "reflect"},
        {"in_channels": 64},
        {"out_channels": 64},
        {"dtype": torch.float64},
    ],
    ids=str,
)
def test_other_convolutions_are_not_taken(options: dict[str, object]) -> None:
    assert not WinogradConv2d.takes(_convolution(**options))


def test_plain_3x3_convolution_is_taken() -> None:
    assert WinogradConv2d.takes(_convolution())
