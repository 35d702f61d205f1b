"""Images written and read by imagecodecs and tifffile: the same pixels here, or a rejection by name."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rded_core.io.formats.images import RejectedImage, decode_image

imagecodecs: Any = pytest.importorskip("imagecodecs")
tifffile: Any = pytest.importorskip("tifffile")

HEIGHT, WIDTH = 16, 24
SHARE = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) / (HEIGHT * WIDTH - 1)
"""A ramp from 0 to 1."""

COLOUR = np.stack([SHARE, SHARE[::-1], SHARE[:, ::-1]], axis=-1)


def numbers_of(share: np.ndarray, bits: int) -> np.ndarray:
    kind = {8: "u1", 16: "u2", 32: "u4"}[8 if bits <= 8 else 16 if bits <= 16 else 32]
    return (share * (2**bits - 1)).round().astype(kind)


def outcome_of(data: bytes) -> Tensor | str:
    try:
        return decode_image(data)
    except RejectedImage as error:
        return error.reason


def is_close(found: Tensor, share: np.ndarray) -> bool:
    """Whether decoded levels are within one of white's share."""
    channels = share if share.ndim == 3 else np.repeat(share[..., None], 3, axis=-1)
    return bool((found.double() - torch.from_numpy(channels * 255).permute(2, 0, 1)).abs().max() <= 1)


def tiff(numbers: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, numbers, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("codec", ["j2k", "jp2"])
@pytest.mark.parametrize("bits", [1, 4, 8, 10, 12, 16])
@pytest.mark.parametrize("share", [SHARE, COLOUR], ids=["grey", "colour"])
def test_jpeg_2000(share: np.ndarray, bits: int, codec: str) -> None:
    numbers = numbers_of(share, bits)
    data = imagecodecs.jpeg2k_encode(numbers, bitspersample=bits, codecformat=codec, reversible=True)
    assert np.array_equal(imagecodecs.jpeg2k_decode(data), numbers)
    outcome = outcome_of(data)
    if share.ndim == 3 and bits > 8:
        assert outcome == "unsupported_pixels"
    else:
        assert isinstance(outcome, Tensor)
        assert is_close(outcome, numbers / (2**bits - 1))


KINDS = [
    *((bits, compression, order) for bits in (8, 16, 32) for compression in (None, "deflate", "lzw") for order in "<>"),
]


@pytest.mark.parametrize(("bits", "compression", "order"), KINDS)
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("predictor", [False, True])
def test_grey_tiff(bits: int, compression: str | None, order: str, photometric: str, predictor: bool) -> None:
    numbers, written = numbers_of(SHARE, bits), {"predictor": predictor} if compression else {}
    data = tiff(numbers, compression=compression, byteorder=order, photometric=photometric, **written)
    assert np.array_equal(tifffile.imread(io.BytesIO(data)), numbers)
    outcome = outcome_of(data)
    if isinstance(outcome, str):
        assert outcome == "unsupported_pixels"
        assert order == ">" or bits == 32
    else:
        assert is_close(outcome, 1 - SHARE if photometric == "miniswhite" else SHARE)


@pytest.mark.parametrize("compression", [None, "deflate", "lzw"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("predictor", [False, True])
@pytest.mark.parametrize("top", [1, 255, 65535])
def test_float_tiff(compression: str | None, order: str, predictor: bool, top: int) -> None:
    written = {"predictor": predictor} if compression else {}
    data = tiff(
        (SHARE * top).astype("f4"), compression=compression, byteorder=order, photometric="minisblack", **written
    )
    outcome = outcome_of(data)
    assert isinstance(outcome, Tensor)
    assert is_close(outcome, tifffile.imread(io.BytesIO(data)) / top)


@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("bits", [8, 16])
def test_colour_tiff(compression: str | None, order: str, planar: str, tile: tuple[int, int] | None, bits: int) -> None:
    numbers = numbers_of(COLOUR, bits)
    stored = np.moveaxis(numbers, -1, 0) if planar == "separate" else numbers
    data = tiff(stored, photometric="rgb", planarconfig=planar, compression=compression, byteorder=order, tile=tile)
    outcome = outcome_of(data)
    if planar == "separate" and bits == 16 and not compression:
        assert outcome == "unsupported_pixels"
    else:
        assert isinstance(outcome, Tensor)
        assert is_close(outcome, COLOUR)


@pytest.mark.parametrize("sampling", ["444", "422", "420", "440", "411"])
def test_jpeg(sampling: str) -> None:
    data = imagecodecs.jpeg8_encode(np.kron(numbers_of(COLOUR, 8), np.ones((3, 3, 1), "u1")), 90, subsampling=sampling)
    assert np.array_equal(decode_image(data).permute(1, 2, 0).numpy(), imagecodecs.jpeg8_decode(data))


def test_lossless_and_12_bit_jpeg() -> None:
    numbers = numbers_of(COLOUR, 8)
    assert np.array_equal(decode_image(imagecodecs.jpeg8_encode(numbers, lossless=True)).permute(1, 2, 0), numbers)
    assert outcome_of(imagecodecs.jpeg8_encode(numbers_of(SHARE, 12), 90, bitspersample=12)) == "unsupported_pixels"


@pytest.mark.parametrize("bits", [8, 16])
def test_png(bits: int) -> None:
    for share in (SHARE, COLOUR):
        assert is_close(decode_image(imagecodecs.png_encode(numbers_of(share, bits))), share)


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_avif(bits: int) -> None:
    share = np.kron(COLOUR, np.ones((4, 4, 1)))
    assert is_close(
        decode_image(imagecodecs.avif_encode(numbers_of(share, bits), level=100, bitspersample=bits)), share
    )
