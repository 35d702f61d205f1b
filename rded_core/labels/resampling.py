"""Bilinear resampling of many images at once, as two gathers: the same code on any device, no loop over images."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Taps:
    """Input pixels that each output pixel of one axis reads: ``input[low] * (1 - share) + input[high] * share``.

    Attributes:
        low: input pixel.
        high: its neighbour, or the same pixel at the end of the crop.
        share: weight of `high`, 0..1.
    """

    low: Int[Tensor, "b s"]
    high: Int[Tensor, "b s"]
    share: Float[Tensor, "b s"]

    def part(self, rows: slice) -> "Taps":
        """Returns the taps of a slice of the images."""
        return Taps(self.low[rows], self.high[rows], self.share[rows])


def crop_taps(order: Int[Tensor, "b f"], start: Int[Tensor, "b"], side: Int[Tensor, "b"], size: int) -> Taps:
    """Returns the taps of one axis for: shuffle the cells, crop `side` pixels from `start`, resize to `size` pixels.

    A crop is never larger than `size`, so the resize only enlarges; then plain bilinear equals the antialiased filter.
    Source: the half-pixel convention of ``torch.nn.functional.interpolate(align_corners=False)``.
    """
    pixel = torch.arange(size, device=order.device)
    place = ((pixel + 0.5) * (side[:, None] / size) - 0.5).clamp(min=0.0)
    last = side[:, None] - 1
    low = torch.minimum(place.long(), last)
    high = torch.minimum(low + 1, last)
    sources = shuffled_pixels(order, size)
    share = place - low
    return Taps(sources.gather(1, low + start[:, None]), sources.gather(1, high + start[:, None]), share)


def shuffled_pixels(order: Int[Tensor, "b f"], size: int) -> Int[Tensor, "b {size}"]:
    """Returns the input pixel at each pixel of an axis whose cells are in `order` (`tiling.cell_edges`)."""
    num_cells = order.shape[1]
    edges = torch.arange(num_cells + 1, device=order.device) * size // num_cells
    widths = edges.diff()[order]
    ends = widths.cumsum(dim=1)
    shifts = edges[:-1][order] - (ends - widths)
    pixel = torch.arange(size, device=order.device)
    cell = (pixel[:, None] >= ends[:, None, :]).sum(dim=2)  # b s: ends passed
    return pixel + shifts.gather(1, cell)


def gather_bilinear(images: UInt8[Tensor, "b 3 s s"], rows: Taps, columns: Taps) -> Float[Tensor, "b 3 s s"]:
    """Resamples every image along both axes: float levels 0..255. The result's memory is not contiguous."""
    low, high = (images.gather(3, tap[:, None, None].expand_as(images)).float() for tap in (columns.low, columns.high))
    across = low.lerp_(high, columns.share[:, None, None]).transpose(1, 2)  # b s 3 s: whole rows are gathered next
    image = torch.arange(len(images), device=images.device)[:, None]
    down = across[image, rows.low].lerp_(across[image, rows.high], rows.share[:, :, None, None])
    return down.transpose(1, 2)
