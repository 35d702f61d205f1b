"""Taps and gathers, by hand and against plain interpolation."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from rded_core.labels.resampling import Taps, crop_taps, gather_bilinear, shuffled_pixels
from rded_core.patches.tiling import cell_edges
from rded_core.seeds import counter_generator


def taps_of(start: int, side: int, size: int, order: tuple[int, ...] = (0,)) -> Taps:
    return crop_taps(torch.tensor([order]), torch.tensor([start]), torch.tensor([side]), size)


def test_whole_axis_is_the_identity() -> None:
    taps = taps_of(0, 8, 8)
    assert taps.low.tolist() == [list(range(8))]
    assert taps.share.tolist() == [[0.0] * 8]


def test_enlarging_two_pixels_to_four_by_hand() -> None:
    """Centres of the four lie at -0.25, 0.25, 0.75 and 1.25 of the two; the ends are clamped."""
    taps = taps_of(1, 2, 4)
    assert taps.low.tolist() == [[1, 1, 1, 2]]
    assert taps.high.tolist() == [[2, 2, 2, 2]]
    assert taps.share.tolist() == [[0.0, 0.25, 0.75, 0.25]]


def test_crop_of_one_pixel_reads_only_that_pixel() -> None:
    taps = taps_of(5, 1, 8)
    assert set(taps.low.flatten().tolist()) | set(taps.high.flatten().tolist()) == {5}


@pytest.mark.parametrize(("size", "order"), [(8, (2, 0, 1)), (9, (1, 2, 0)), (32, (3, 1, 0, 2)), (7, (0,))])
def test_shuffled_pixels_are_the_concatenated_cells(size: int, order: tuple[int, ...]) -> None:
    edges = cell_edges(size, len(order))
    expected = [pixel for cell in order for pixel in range(edges[cell], edges[cell + 1])]
    assert shuffled_pixels(torch.tensor([order]), size).tolist() == [expected]


def test_shuffling_comes_before_the_crop() -> None:
    # Six pixels in two cells, exchanged: 3 4 5 0 1 2; the crop starts at the third.
    order, start, side = torch.tensor([[1, 0]]), torch.tensor([2]), torch.tensor([6])
    assert shuffled_pixels(order, 6).tolist() == [[3, 4, 5, 0, 1, 2]]
    assert crop_taps(order, torch.tensor([0]), side, 6).low.tolist() == [[3, 4, 5, 0, 1, 2]]
    assert crop_taps(order, start, torch.tensor([2]), 6).low.unique().tolist() == [0, 5]


def pictures(num_images: int, size: int) -> Tensor:
    return torch.randint(
        0, 256, (num_images, 3, size, size), generator=counter_generator(0, "pictures"), dtype=torch.uint8
    )


@pytest.mark.parametrize("size", [8, 33, 64])
def test_gathers_equal_interpolation_with_and_without_antialias(size: int) -> None:
    """A crop no larger than its result is only enlarged, and then both filters are the same."""
    generator = counter_generator(1)
    images = pictures(20, size)
    height, width = torch.randint(1, size + 1, (2, 20), generator=generator)
    top, left = ((torch.rand(20, generator=generator) * (size - side + 1)).long() for side in (height, width))
    order = torch.zeros(20, 1, dtype=torch.int64)
    result = gather_bilinear(images, crop_taps(order, top, height, size), crop_taps(order, left, width, size))
    for row, (image, t, le, h, w) in enumerate(zip(images, top, left, height, width, strict=True)):
        window = image[None, :, t : t + h, le : le + w].float()
        for antialias in (False, True):
            expected = functional.interpolate(window, size=(size, size), mode="bilinear", antialias=antialias)
            torch.testing.assert_close(result[row], expected[0], rtol=0, atol=1e-6 * 255)


def test_slice_of_the_taps_resamples_a_slice_of_the_images() -> None:
    images = pictures(4, 16)
    order, start, side = torch.tensor([[1, 0]] * 4), torch.tensor([0, 1, 2, 3]), torch.tensor([16, 12, 9, 7])
    taps = crop_taps(order, start, side, 16)
    part = slice(1, 3)
    whole = gather_bilinear(images, taps, taps)
    assert torch.equal(gather_bilinear(images[part], taps.part(part), taps.part(part)), whole[part])
