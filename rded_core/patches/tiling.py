"""Tiling: factor x factor patches become one distilled image (the stage that RDED calls squeeze)."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor


def rank_grid(num_images: int, factor: int) -> Int[Tensor, "{num_images} _q"]:
    """Returns the rank in each quadrant: image j holds ranks j, j + n, j + 2n, ... for n images of a class.

    Quadrants are numbered row by row, so each image mixes stronger and weaker patches. Source: RDED's code.
    """
    quadrants = torch.arange(factor * factor)
    return torch.arange(num_images)[:, None] + quadrants[None, :] * num_images


def cell_edges(size: int, factor: int) -> list[int]:
    """Returns the factor + 1 pixel edges of the cells along one side: floor(i * size / factor).

    If the factor does not divide the size, cells differ by one pixel and still fill the image (the published code does
    not cover such sizes).
    """
    return [index * size // factor for index in range(factor + 1)]


def cell_shapes(size: int, factor: int) -> list[tuple[int, int]]:
    """Returns (height, width) in pixels of each quadrant, row by row."""
    edges = cell_edges(size, factor)
    sides = [end - start for start, end in pairwise(edges)]
    return [(height, width) for height in sides for width in sides]


def tile_patches(patches: Sequence[Float[Tensor, "3 _h _w"]], factor: int) -> UInt8[Tensor, "3 s s"]:
    """Tiles one image's patches (float RGB 0..1, quadrants row by row, shapes of `cell_shapes`) into uint8 RGB.

    Values are truncated, as in the published code.
    """
    rows = [torch.cat(list(patches[row * factor : (row + 1) * factor]), dim=2) for row in range(factor)]
    return torch.cat(rows, dim=1).mul(255.0).clamp(0.0, 255.0).to(torch.uint8)
