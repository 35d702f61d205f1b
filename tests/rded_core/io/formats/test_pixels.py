"""Numbers wider or narrower than a byte: decoded by their range, or rejected with a reason; values by hand."""

import struct
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from PIL import Image

from rded_core.io.formats.images import RejectedImage, decode_image, is_form_read_differently, read_header
from rded_core.io.formats.pixels import UnknownRange, find_top
from tests.rded_core.io.formats.raw_files import jpeg2000_of, pfm_of, pgm_of, tiff_of

ORDERS = ("<", ">")


def levels_of(data: bytes) -> list[int]:
    """Returns the decoded levels of a grey image, row by row."""
    decoded = decode_image(data)
    assert torch.equal(decoded[0], decoded[1]) and torch.equal(decoded[0], decoded[2])
    return decoded[0].flatten().tolist()


def rejection_of(data: bytes) -> tuple[str, str]:
    with pytest.raises(RejectedImage) as caught:
        decode_image(data)
    reason, _, detail = str(caught.value).partition(": ")
    assert caught.value.reason == reason
    return reason, detail


def row(values: Sequence[float], kind: str) -> np.ndarray:
    return np.array([values], dtype=kind)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("compressed", [False, True], ids=["raw", "deflate"])
@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ([0, 0.25, 0.5, 1], [0, 64, 128, 255]),
        ([0, 0.002, 0.1, 0.6], [0, 1, 26, 153]),
        ([0, 1, 51.5, 200], [0, 1, 52, 200]),
        ([0, 1, 2, 3], [0, 1, 2, 3]),
        ([0, 257, 32896, 65535], [0, 1, 128, 255]),
        ([-0.01, 0, 1, 1.02], [0, 0, 255, 255]),
    ],
    ids=["unit", "dark unit", "byte", "whole bytes", "16 bits", "overshoot"],
)
def test_float_tiffs_are_scaled_by_their_range(
    order: str, compressed: bool, values: list[float], levels: list[int]
) -> None:
    assert levels_of(tiff_of(row(values, "f4"), order=order, compressed=compressed)) == levels


@pytest.mark.parametrize("order", ORDERS)
def test_pfm_from_0_to_1_is_not_black(order: str) -> None:
    numbers = np.array([[0, 0.5], [0.75, 1]])
    assert levels_of(pfm_of(numbers, order=order)) == [0, 128, 191, 255]
    assert levels_of(pfm_of(numbers * 255, order=order)) == [0, 128, 191, 255]


@pytest.mark.parametrize(
    "values",
    [[-1, 0, 0.5, 1], [0, 0.5, 1, 7.5], [0, 0.5, 300, 4000], [0, 0.5, 1, 70000]],
    ids=["below 0", "highlights", "12 bits", "beyond 16 bits"],
)
def test_floats_without_a_known_range_are_rejected(values: list[float]) -> None:
    for data in (tiff_of(row(values, "f4")), pfm_of(row(values, "f4"))):
        assert rejection_of(data) == ("unknown_range", f"numbers from {min(values):g} to {max(values):g}")


@pytest.mark.parametrize("compressed", [False, True], ids=["raw", "deflate"])
@pytest.mark.parametrize(
    ("kind", "values", "levels"),
    [
        ("u2", [0, 257, 32896, 65535], [255, 254, 127, 0]),
        ("f4", [0, 0.25, 0.5, 1], [255, 191, 127, 0]),
        ("u1", [0, 1, 128, 255], [255, 254, 127, 0]),
    ],
)
def test_white_is_zero_is_inverted(compressed: bool, kind: str, values: list[float], levels: list[int]) -> None:
    assert levels_of(tiff_of(row(values, kind), photometric=0, compressed=compressed)) == levels


@pytest.mark.parametrize("compressed", [False, True], ids=["raw", "deflate"])
@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ([0, 2**24, 2**31, 2**32 - 1], [0, 1, 128, 255]),
        ([0, 257, 32896, 65535], [0, 1, 128, 255]),
        ([0, 1, 100, 255], [0, 1, 100, 255]),
    ],
    ids=["32 bits", "16 bits", "byte"],
)
def test_unsigned_32_bits_are_scaled_by_their_range(compressed: bool, values: list[int], levels: list[int]) -> None:
    assert levels_of(tiff_of(row(values, "u4"), compressed=compressed)) == levels


@pytest.mark.parametrize("values", [[0, 5, 4095], [0, 5, 10**6], [0, 5, 16383]])
def test_unsigned_32_bits_of_a_sensor_are_rejected(values: list[int]) -> None:
    assert rejection_of(tiff_of(row(values, "u4"))) == ("unknown_range", f"numbers from 0 to {values[-1]:g}")


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("compressed", [False, True], ids=["raw", "deflate"])
@pytest.mark.parametrize("kind", ["i2", "i4"])
def test_signed_numbers_of_a_byte_are_levels(order: str, compressed: bool, kind: str) -> None:
    assert levels_of(tiff_of(row([0, 1, 100, 255], kind), order=order, compressed=compressed)) == [0, 1, 100, 255]


def test_signed_numbers_are_scaled_by_their_largest() -> None:
    assert levels_of(tiff_of(row([0, 16384, 32767], "i2"))) == [0, 128, 255]
    assert levels_of(tiff_of(row([0, 257, 65535], "i4"))) == [0, 1, 255]


@pytest.mark.parametrize(("kind", "values"), [("i2", [-1024, 0, 3000]), ("i2", [0, 1000]), ("i4", [-1, 200])])
def test_signed_numbers_without_a_known_range_are_rejected(kind: str, values: list[int]) -> None:
    assert rejection_of(tiff_of(row(values, kind)))[0] == "unknown_range"


def test_signed_bytes_are_rejected() -> None:
    data = tiff_of(row([-128, 0, 127], "i1"))
    assert rejection_of(data) == ("unsupported_pixels", "signed TIFF of 8 bits")
    with pytest.raises(RejectedImage, match="unsupported_pixels"):
        read_header(data)


def test_12_bits_are_scaled() -> None:
    packed = bytes.fromhex("000 001 800 fff".replace(" ", ""))
    data = tiff_of(row([0, 1, 2048, 4095], "u2"), bits=12, rows=packed)
    assert levels_of(data) == [0, 0, 128, 255]


@pytest.mark.parametrize("plain", [False, True], ids=["binary", "plain"])
@pytest.mark.parametrize(
    ("top", "values", "levels"),
    [
        (65535, [0, 128, 129, 255], [0, 0, 1, 1]),
        (65535, [0, 257, 32896, 65535], [0, 1, 128, 255]),
        (1023, [0, 1, 2, 3], [0, 0, 0, 1]),
        (1023, [0, 512, 1000, 1023], [0, 128, 249, 255]),
        (300, [0, 1, 150, 300], [0, 1, 128, 255]),
        (15, [0, 1, 8, 15], [0, 17, 136, 255]),
    ],
)
def test_pgm_is_scaled_by_its_header(plain: bool, top: int, values: list[int], levels: list[int]) -> None:
    assert levels_of(pgm_of(row(values, "i4"), top, plain=plain)) == levels


@pytest.mark.parametrize("bits", [9, 10, 12, 16])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colour_jpeg_2000_of_more_than_8_bits_is_rejected(mode: str, bits: int) -> None:
    data = jpeg2000_of(Image.new(mode, (8, 8), (200, 100, 50, 255)[: len(mode)]), bits)
    assert rejection_of(data) == ("unsupported_pixels", f"JPEG 2000 of {bits} bits in mode {mode}")
    with pytest.raises(RejectedImage, match="unsupported_pixels"):
        read_header(data)


def test_grey_jpeg_2000_is_read_up_to_16_bits() -> None:
    picture = Image.new("L", (8, 8), 255)
    assert set(levels_of(jpeg2000_of(picture, 8))) == {255}
    assert set(levels_of(jpeg2000_of(picture, 10))) == {round((127 + 512) / 1023 * 255)}
    assert set(levels_of(jpeg2000_of(picture, 16))) == {round((127 + 32768) / 65535 * 255)}
    assert rejection_of(jpeg2000_of(picture, 17))[0] == "unsupported_pixels"


@pytest.mark.parametrize(
    ("bits", "number", "level"), [(1, 1, 255), (2, 1, 85), (4, 15, 255), (4, 7, 119), (7, 64, 129)]
)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_2000_of_fewer_bits_reaches_white(mode: str, bits: int, number: int, level: int) -> None:
    value = number + 128 - (1 << (bits - 1))
    data = jpeg2000_of(Image.new(mode, (8, 8), value if mode == "L" else (value,) * 3), bits)
    assert set(levels_of(data)) == {level}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", [(4, 6, 3), (4, 6, 4)])
def test_uncompressed_planes_of_16_bits_are_rejected(order: str, shape: tuple[int, ...]) -> None:
    numbers = np.arange(np.prod(shape)).reshape(shape).astype("u2") * 500
    photometric = 2 if shape[2] == 3 else 5
    reason, detail = rejection_of(tiff_of(numbers, order=order, planar=True, photometric=photometric))
    assert reason == "unsupported_pixels"
    assert detail.startswith("TIFF of uncompressed planes")


@pytest.mark.parametrize("compressed", [False, True], ids=["raw", "deflate"])
def test_planes_are_put_together(compressed: bool) -> None:
    numbers = np.arange(72).reshape(4, 6, 3).astype("u1") * 3
    expected = torch.from_numpy(numbers).permute(2, 0, 1)
    for planar in (False, True):
        assert torch.equal(decode_image(tiff_of(numbers, planar=planar, compressed=compressed)), expected)
    wide = tiff_of(numbers.astype("u2") * 257, planar=True, compressed=True)
    assert torch.equal(decode_image(wide), expected)


def test_planes_in_which_0_is_white_are_rejected() -> None:
    data = tiff_of(row([0, 100, 255], "u1"), planar=True, photometric=0)
    assert rejection_of(data)[0] == "unsupported_pixels"


@pytest.mark.parametrize("scale", [1, 257], ids=["8 bits", "16 bits"])
def test_palettes_of_8_and_16_bits_have_the_same_colours(scale: int) -> None:
    colours = np.zeros((3, 256), dtype=int)
    colours[:, 1], colours[:, 2] = (10, 20, 30), (200, 100, 50)
    data = tiff_of(row([0, 1, 2], "u1"), photometric=3, colours=(colours * scale).ravel().tolist())
    assert decode_image(data).flatten(1).T.tolist() == [[0, 0, 0], [10, 20, 30], [200, 100, 50]]


@pytest.mark.parametrize("order", ORDERS)
def test_wide_colour_drops_its_lower_byte(order: str) -> None:
    numbers = np.array([[[0, 255, 256], [65535, 32768, 65280]]], dtype="u2")
    assert decode_image(tiff_of(numbers, order=order)).flatten(1).T.tolist() == [[0, 0, 1], [255, 128, 255]]


def test_cmyk_and_lab_tiffs() -> None:
    cmyk = np.array([[[0, 0, 0, 0], [0, 255, 255, 0], [0, 0, 0, 255]]], dtype="u1")
    assert decode_image(tiff_of(cmyk, photometric=5)).flatten(1).T.tolist() == [[255] * 3, [255, 0, 0], [0] * 3]
    lab = np.array([[[0, 0, 0], [255, 0, 0], [138, 80, 67]]], dtype="u1")  # black, white, red: L * 2.55, a, b
    found = decode_image(tiff_of(lab, photometric=8)).flatten(1).T.int()
    assert (found - torch.tensor([[0, 0, 0], [255, 255, 255], [255, 0, 0]])).abs().max() <= 12


@pytest.mark.parametrize(
    "data",
    [
        tiff_of(np.zeros((2, 3, 3), dtype="f4")),
        tiff_of(np.zeros((2, 3), dtype="f8")),
        tiff_of(np.zeros((2, 3), dtype="f2")),
        tiff_of(np.zeros((2, 3, 5), dtype="u1"), photometric=1, extra=[0] * 4),
        tiff_of(np.zeros((2, 3), dtype="u4"), order=">"),
        tiff_of(np.zeros((2, 3), dtype="u2"), order=">", photometric=0),
        pfm_of(np.zeros((2, 3, 3))),
    ],
    ids=["float colour", "double", "half", "5 bands", "big-endian 32 bits", "big-endian white is 0", "colour PFM"],
)
def test_images_that_pillow_does_not_open_are_no_longer_called_something_else(data: bytes) -> None:
    assert rejection_of(data)[0] == "unsupported_pixels"
    with pytest.raises(RejectedImage, match="unsupported_pixels"):
        read_header(data)


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_tiff_is_turned_as_before(orientation: int) -> None:
    numbers = np.arange(6, dtype="u1").reshape(2, 3)
    turned = {1: numbers, 3: numbers[::-1, ::-1], 6: np.rot90(numbers, -1)}[orientation]
    assert decode_image(tiff_of(numbers, orientation=orientation))[0].tolist() == turned.tolist()


def test_white_is_the_smallest_top_that_no_number_exceeds() -> None:
    with pytest.raises(UnknownRange, match="numbers from -1 to 2"):
        find_top(np.array([-1, 2]), (255,))
    assert find_top(np.array([], dtype=np.float32), (1, 255)) == 1


def test_only_forms_with_new_pixels_are_read_differently() -> None:
    new = [
        tiff_of(row([0, 1], "f4")),
        tiff_of(row([0, 1], "u4")),
        tiff_of(row([0, 1], "i2")),
        tiff_of(row([0, 1], "i1")),
        tiff_of(row([0, 1], "u2"), photometric=0),
        tiff_of(np.zeros((2, 2, 3), dtype="u2"), planar=True),
        pgm_of(row([0, 1], "i4"), 65535),
        pfm_of(row([0, 1], "f4")),
        jpeg2000_of(Image.new("RGB", (4, 4)), 16),
        jpeg2000_of(Image.new("L", (4, 4)), 4),
    ]
    old = [
        tiff_of(row([0, 1], "u1")),
        tiff_of(row([0, 1], "u1"), photometric=0),
        tiff_of(row([0, 1], "u2")),
        tiff_of(np.zeros((2, 2, 3), dtype="u2")),
        tiff_of(np.zeros((2, 2, 3), dtype="u1"), planar=True),
        pgm_of(row([0, 1], "i4"), 255),
        jpeg2000_of(Image.new("RGB", (4, 4)), 8),
        jpeg2000_of(Image.new("L", (4, 4)), 16),
        b"no image",
    ]
    assert [is_form_read_differently(data) for data in new] == [True] * len(new)
    assert [is_form_read_differently(data) for data in old] == [False] * len(old)


@pytest.mark.parametrize("width", [0xF0000000, 0x7FFFFFFF])
def test_a_header_with_an_absurd_tile_is_rejected(width: int) -> None:
    data = tiff_of(np.zeros((4, 4), dtype="u1"))
    for tag, tile_tag in ((273, 324), (278, 323), (279, 322)):  # strip offsets, rows and bytes become those of tiles
        data = data.replace(struct.pack("<HHL", tag, 4, 1), struct.pack("<HHL", tile_tag, 4, 1))
    data = data.replace(struct.pack("<HHLL", 322, 4, 1, 16), struct.pack("<HHLL", 322, 4, 1, width))
    assert rejection_of(data)[0] == "truncated"
