"""Pixels of an opened image as uint8 RGB: numbers wider than a byte are scaled by the range that they are stored in."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, TiffImagePlugin

from rded_core.io.formats.pixel_forms import (
    UNSIGNED,
    bits_of,
    byte_palette,
    colour_depths,
    is_inverted,
    sample_format,
)

FLOAT_TOPS = (1, 255, 65535)
INTEGER_TOPS = {16: (255, 2**15 - 1), 32: (255, 65535, 2**31 - 1)}
UNSIGNED_TOPS = (255, 65535, 2**32 - 1)
"""Values that may stand for white, by kind of number."""

OVERSHOOT = 0.05
"""Share of white by which floats may leave their range, as after a bicubic resize; they are clipped."""

NATIVE_ORDER = {"F;32BF": "F;32NF", "I;32BS": "I;32NS", "I;16BS": "I;16NS"}
"""Raw modes of big-endian numbers, and of the same numbers as libtiff returns them."""


class UnknownRange(ValueError):
    """Numbers of an image that do not show which of them are black and white."""


def to_rgb(image: Image.Image, data: bytes) -> Image.Image:
    """Returns an opened image in RGB; `data` is its file.

    Raises:
        UnknownRange: its numbers have no known range.
        OSError, ValueError, ...: its pixels cannot be decoded, as Pillow's `load` raises.
    """
    _expect_native_order(image)
    image.load()
    if image.mode.startswith("I;16"):
        return _grey(image, _scale_16_bits(image))
    if image.mode in ("I", "F"):
        return _grey(image, _scale_numbers(image))
    if colours := byte_palette(image):
        image.putpalette(np.asarray(colours, dtype=np.uint8).reshape(3, -1).T.tobytes())
    depths = colour_depths(data) if image.format == "JPEG2000" else ()
    rgb = image.convert("RGB")
    return rgb.point(_stretch(depths[0]) * 3) if depths and min(depths) < 8 else rgb


def find_top(numbers: np.ndarray, tops: Sequence[int]) -> int:
    """Returns which of `tops` (ascending) is white: the smallest that no number exceeds.

    Raises:
        UnknownRange: negative numbers, or numbers that a range between two of `tops` would hold too.
    """
    low, high = float(numbers.min(initial=0)), float(numbers.max(initial=0))
    slack = OVERSHOOT if numbers.dtype.kind == "f" else 0.0
    top = next((top for top in tops if high <= top * (1 + slack)), None)
    if top is not None and low >= -slack * top:
        is_byte = top == 255 and bool((numbers == np.round(numbers)).all())
        if top == tops[0] or is_byte or high > top / 2:
            return top
    raise UnknownRange(f"numbers from {low:g} to {high:g}")


def _expect_native_order(image: Image.Image) -> None:
    """Corrects Pillow's raw mode of compressed big-endian numbers, whose bytes libtiff has already swapped."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        image.tile = [
            tile._replace(args=(NATIVE_ORDER.get(tile.args[0], tile.args[0]), *tile.args[1:]))
            if tile.codec_name == "libtiff" and isinstance(tile.args, tuple)
            else tile
            for tile in image.tile
        ]


def _grey(image: Image.Image, values: np.ndarray) -> Image.Image:
    """Returns grey of 0..255 as RGB, inverted if 0 is white in the file."""
    grey = values.astype(np.uint8)
    return Image.fromarray(255 - grey if is_inverted(image) else grey).convert("RGB")


def _scale_16_bits(image: Image.Image) -> np.ndarray:
    grey = np.asarray(image).astype(np.uint32)
    if bits_of(image) == (12,):  # Pillow does not widen them
        return (grey * 255 + 2047) // 4095
    return (grey + 128) // 257


def _scale_numbers(image: Image.Image) -> np.ndarray:
    numbers = np.asarray(image)
    if not np.isfinite(numbers).all():  # their value as a byte depends on the processor
        raise ValueError("pixels that are not finite")
    if image.format == "PPM" and image.mode == "I":  # scaled by Pillow from the largest value in the header
        top = 65535
    else:
        numbers, tops = _numbers_and_tops(image, numbers)
        top = find_top(numbers, tops)
    return (numbers.astype(np.float64) / top * 255.0).round().clip(0, 255)


def _numbers_and_tops(image: Image.Image, numbers: np.ndarray) -> tuple[np.ndarray, Sequence[int]]:
    """Returns the numbers with their sign as stored, and which of them may be white."""
    if image.mode == "F":
        return numbers, FLOAT_TOPS
    bits, kind = bits_of(image)[0], sample_format(image)
    if kind == UNSIGNED:
        return numbers.view(np.uint32), UNSIGNED_TOPS
    return numbers, INTEGER_TOPS.get(bits, INTEGER_TOPS[32])


def _stretch(bits: int) -> list[int]:
    """Returns the table from a byte whose upper bits hold a number of fewer bits, as Pillow leaves them, to 0..255."""
    top = (1 << bits) - 1
    return [((byte >> (8 - bits)) * 510 + top) // (2 * top) for byte in range(256)]
