"""3 x 3 convolutions with a quarter of the multiplications, for processors whose libraries lack them.

Each tile of 4 x 4 outputs reads 6 x 6 inputs. Inputs and kernels are polynomials, multiplied by their values at six
points per side instead of by their coefficients: 36 multiplications per channel pair instead of 144. Source: Winograd
(1980); Lavin and Gray, "Fast algorithms for convolutional neural networks" (CVPR 2016), F(4 x 4, 3 x 3). The points
0, ±3/4, ±3/2 and infinity instead of theirs (0, ±1, ±2) keep float32's error at that of the plain sums.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

TILE = 4
"""Outputs of a tile along one side."""

READ = TILE + 2
"""Inputs of a tile along one side; also the number of points."""

POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)
"""Points at which the polynomials are evaluated; infinity is the sixth."""

BLOCK_TILES = 128
"""Tiles computed together: few enough that their values stay in the cache, enough to reuse the kernels."""

MIN_CHANNELS = 128
"""With fewer channels, transforming tiles costs more than the saved multiplications."""


class WinogradConv2d(nn.Module):
    """A frozen channels-last convolution of a kind that `takes` accepts: the same outputs up to rounding.

    Args:
        convolution: layer to replace; its weights are copied in transformed form, four times as many numbers.
    """

    kernels: Tensor
    bias: Tensor
    inputs: Tensor
    outputs: Tensor

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        height, width = convolution.padding
        self.padding = (int(width), int(width), int(height), int(height))
        inputs, kernels, outputs = _transforms()
        weight = convolution.weight.detach().double()
        # k c 3 3 to 9, c k: the transform of all kernels at once is one product.
        flat = weight.permute(2, 3, 1, 0).reshape(9, -1)
        transformed = torch.kron(kernels, kernels).to(flat) @ flat
        bias = convolution.bias
        zeros = weight.new_zeros(convolution.out_channels)
        self.register_buffer("kernels", transformed.view(READ * READ, *weight.shape[1::-1]).float(), persistent=False)
        self.register_buffer("bias", (zeros if bias is None else bias.detach()).float(), persistent=False)
        self.register_buffer("inputs", torch.kron(inputs, inputs).to(zeros.device).float(), persistent=False)
        self.register_buffer("outputs", torch.kron(outputs, outputs).to(zeros.device).float(), persistent=False)

    @staticmethod
    def takes(module: nn.Conv2d) -> bool:
        """Returns True if replacing a convolution is possible and pays: 3 x 3, stride 1, one group, many channels."""
        return (
            (module.kernel_size, module.stride, module.dilation) == ((3, 3), (1, 1), (1, 1))
            and (module.groups, module.padding_mode) == (1, "zeros")
            and not isinstance(module.padding, str)
            and min(module.in_channels, module.out_channels) >= MIN_CHANNELS
            and (module.weight.device.type, module.weight.dtype) == ("cpu", torch.float32)
        )

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k _h _w"]:
        return self.valid(maps, self.padding)

    def valid(
        self, maps: Float[Tensor, "b c h w"], padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    ) -> Float[Tensor, "b k _h _w"]:
        """Convolves maps after padding with zeros (left, right, above, below); without padding they shrink by 2."""
        left, right, above, below = padding
        batch, _, height, width = maps.shape
        height, width = height + above + below - 2, width + left + right - 2
        down, across = -(-height // TILE), -(-width // TILE)
        right, below = right + across * TILE - width, below + down * TILE - height
        padded = functional.pad(maps.permute(0, 2, 3, 1), (0, 0, left, right, above, below)).contiguous()
        tiles = _overlapping_tiles(padded, down, across)
        result = padded.new_empty(batch, height, width, self.kernels.shape[2])
        for images, rows in _blocks(batch, down, across):
            top = rows.start * TILE
            self._convolve(tiles[:, :, images, rows], result[images, top : rows.stop * TILE])
        return result.permute(0, 3, 1, 2)

    def _convolve(self, tiles: Float[Tensor, "i j b y x c"], result: Float[Tensor, "b h w k"]) -> None:
        """Computes one block of tiles and writes it to `result`."""
        batch, down, across, channels = tiles.shape[2:]
        values = torch.mm(self.inputs, tiles.reshape(READ * READ, -1)).view(READ * READ, -1, channels)
        products = torch.bmm(values, self.kernels)
        sums = torch.mm(self.outputs, products.view(READ * READ, -1))
        # rows and columns within each tile next to the tile's own: y, 4, x, 4.
        spread = sums.view(TILE, TILE, batch, down, across, -1).permute(2, 3, 0, 4, 1, 5)
        height, width = result.shape[1:3]
        if (height, width) != (down * TILE, across * TILE):
            spread = spread.reshape(batch, down * TILE, across * TILE, -1)[:, :height, :width]
        torch.add(spread, self.bias, out=result.view(spread.shape))


def _overlapping_tiles(maps: Float[Tensor, "b h w c"], down: int, across: int) -> Float[Tensor, "i j b y x c"]:
    """Returns the inputs of every tile as a view: row and column in the tile, image, tile row, tile column, channel."""
    image, row, column, channel = maps.stride()
    shape = (READ, READ, len(maps), down, across, maps.shape[3])
    return maps.as_strided(shape, (row, column, image, TILE * row, TILE * column, channel))


def _blocks(batch: int, down: int, across: int) -> Iterator[tuple[slice, slice]]:
    """Yields images and tile rows to compute together: whole images if any fit, else rows of one image."""
    images = BLOCK_TILES // (down * across)
    if images:
        yield from ((slice(start, min(start + images, batch)), slice(0, down)) for start in range(0, batch, images))
        return
    rows = max(BLOCK_TILES // across, 1)
    for image in range(batch):
        yield from ((slice(image, image + 1), slice(start, min(start + rows, down))) for start in range(0, down, rows))


def _transforms() -> tuple[Tensor, Tensor, Tensor]:
    """Returns matrices that map inputs (6 x 6) and kernels (6 x 3) to values at the points, and products back (4 x 6).

    Source: the Toom-Cook construction with Lagrange polynomials, transposed.
    """
    inputs = torch.zeros(READ, READ, dtype=torch.float64)
    kernels = torch.zeros(READ, 3, dtype=torch.float64)
    outputs = torch.zeros(TILE, READ, dtype=torch.float64)
    for row, point in enumerate(POINTS):
        others = [other for other in POINTS if other != point]
        inputs[row, : READ - 1] = _coefficients(others)
        spread = torch.tensor([point - other for other in others], dtype=torch.float64).prod()
        kernels[row] = torch.tensor([point**power for power in range(3)], dtype=torch.float64) / spread
        outputs[:, row] = torch.tensor([point**power for power in range(TILE)], dtype=torch.float64)
    inputs[-1] = _coefficients(list(POINTS))
    kernels[-1, -1] = outputs[-1, -1] = 1.0
    return inputs, kernels, outputs


def _coefficients(roots: list[float]) -> Float[Tensor, "n"]:
    """Returns the coefficients of the monic polynomial with these roots, lowest power first."""
    coefficients = torch.ones(1, dtype=torch.float64)
    for root in roots:
        coefficients = functional.pad(coefficients, (1, 0)) - root * functional.pad(coefficients, (0, 1))
    return coefficients
