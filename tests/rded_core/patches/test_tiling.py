from itertools import pairwise
from zlib import crc32

import pytest
import torch

from rded_core.patches.tiling import cell_edges, cell_shapes, rank_grid, tile_patches
from rded_core.seeds import counter_generator

SIZES_AND_FACTORS = [(size, factor) for size in (8, 31, 224) for factor in (1, 2, 3, 4)]


def test_rank_grid_by_hand() -> None:
    assert rank_grid(3, 2).tolist() == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]


@pytest.mark.parametrize("num_images", [1, 7, 50])
@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_every_rank_has_exactly_one_quadrant(num_images: int, factor: int) -> None:
    grid = rank_grid(num_images, factor)
    assert grid.shape == (num_images, factor * factor)
    assert grid.flatten().sort().values.tolist() == list(range(num_images * factor * factor))


def test_cell_edges_by_hand() -> None:
    assert cell_edges(224, 3) == [0, 74, 149, 224]
    assert cell_edges(224, 2) == [0, 112, 224]
    assert cell_edges(32, 1) == [0, 32]


@pytest.mark.parametrize(("size", "factor"), SIZES_AND_FACTORS)
def test_cells_fill_the_side_and_differ_by_one_pixel_at_most(size: int, factor: int) -> None:
    edges = cell_edges(size, factor)
    sides = [end - start for start, end in pairwise(edges)]
    assert (edges[0], edges[-1], len(sides)) == (0, size, factor)
    assert max(sides) - min(sides) == (size % factor > 0)
    assert cell_shapes(size, factor) == [(height, width) for height in sides for width in sides]


@pytest.mark.parametrize(("size", "factor"), SIZES_AND_FACTORS)
def test_patches_are_placed_row_by_row(size: int, factor: int) -> None:
    shapes, edges = cell_shapes(size, factor), cell_edges(size, factor)
    tiled = tile_patches([torch.full((3, *shape), k / 255.0) for k, shape in enumerate(shapes)], factor)
    assert tiled.shape == (3, size, size)
    assert tiled.dtype == torch.uint8
    for k in range(factor * factor):
        row, column = divmod(k, factor)
        cell = tiled[:, edges[row] : edges[row + 1], edges[column] : edges[column + 1]]
        assert (cell == k).all()


@pytest.mark.parametrize(
    ("value", "level"), [(0.0, 0), (0.003, 0), (0.5, 127), (0.9999, 254), (1.0, 255), (1.5, 255), (-0.1, 0)]
)
def test_values_are_truncated_and_clamped(value: float, level: int) -> None:
    assert (tile_patches([torch.full((3, 8, 8), value)], 1) == level).all()


def test_all_levels_survive() -> None:
    """uint8 -> float 0..1 -> uint8 must not lose a level to truncation."""
    levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16).expand(3, 16, 16)
    assert torch.equal(tile_patches([levels.to(torch.float32).div(255.0)], 1), levels)


def test_tiling_is_pinned() -> None:
    # A change here means different numbers: bump ALGORITHM_VERSION and say so in CHANGELOG.md.
    generator = counter_generator(0, "tiling")
    patches = [torch.rand(3, *shape, generator=generator) for shape in cell_shapes(31, 3)]
    assert crc32(tile_patches(patches, 3).numpy()) == 790139321
