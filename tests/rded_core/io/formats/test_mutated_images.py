"""Mutated images: each decodes to pixels or is rejected for a documented reason; nothing else happens."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rded_core.io.formats.images import READ_FORMATS, RejectedImage, decode_image, jpeg_size, read_header

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")

REASONS = {"empty", "not_an_image", "truncated", "too_many_pixels", "unsupported_pixels", "unknown_range"}
SOAK_EXAMPLES = 12_000
JPEGS: list[tuple[str, dict[str, Any]]] = [
    ("RGB", {"quality": 85}),
    ("RGB", {"progressive": True, "subsampling": 0}),
    ("RGB", {"quality": 95, "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0", "restart_marker_blocks": 2}),
    ("L", {}),
    ("CMYK", {}),
]
PNG_MODES = ("RGB", "RGBA", "L", "LA", "1", "P", "I;16")
OTHERS: list[tuple[str, str, dict[str, Any]]] = [
    *(("WEBP", mode, {"lossless": lossless}) for mode in ("RGB", "RGBA") for lossless in (False, True)),
    *(("GIF", mode, {}) for mode in ("P", "L")),
    *(("BMP", mode, {}) for mode in ("RGB", "P", "1")),
    *(("TIFF", mode, {}) for mode in ("RGB", "CMYK", "I;16", "F", "P")),
    *(("TIFF", "RGB", {"compression": name}) for name in ("tiff_lzw", "tiff_deflate", "jpeg")),
    ("TIFF", "1", {"compression": "group4"}),
    *(("PPM", mode, {}) for mode in ("RGB", "L", "1", "I;16")),
    ("JPEG2000", "RGB", {}),
]

DrawPhoto = Callable[..., Image.Image]


def in_mode(photo: Image.Image, mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)
    return photo.convert(mode)


def stored(photo: Image.Image, image_format: str, mode: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    in_mode(photo, mode).save(buffer, format=image_format, **options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def seeds(draw_photo: DrawPhoto) -> list[bytes]:
    """Small encoded pictures of every format and mode, and two animations."""
    photo, second = draw_photo(1), draw_photo(2)
    kinds = [
        *(("JPEG", mode, options) for mode, options in JPEGS),
        *(("PNG", mode, {}) for mode in PNG_MODES),
        *OTHERS,
        *((name, "RGB", {"save_all": True, "append_images": [second]}) for name in ("GIF", "WEBP", "TIFF", "PNG")),
    ]
    return [stored(photo, name, mode, **options) for name, mode, options in kinds if name in READ_FORMATS]


def read_image(data: bytes) -> str:
    """Reads with all three functions, which must not contradict each other."""
    try:
        read_header(data)
        header = "fine"
    except RejectedImage as error:
        header = error.reason
    size = jpeg_size(data)
    try:
        pixels = decode_image(data)
    except RejectedImage as error:
        assert {error.reason, header} <= REASONS | {"fine"}
        return error.reason
    assert header == "fine"
    assert pixels.dtype == torch.uint8
    assert pixels.ndim == 3
    assert pixels.shape[0] == 3
    assert size in (None, tuple(pixels.shape[1:]))
    return "decoded"


def test_unchanged_images_decode(seeds: list[bytes]) -> None:
    assert {read_image(data) for data in seeds} == {"decoded"}


def test_mutated_images_decode_or_are_rejected(examine: Callable[..., Any], seeds: list[bytes]) -> None:
    outcomes = examine(read_image, seeds, count=600).outcomes
    assert outcomes["decoded"] > 100
    assert outcomes["truncated"] > 50
    assert outcomes["not_an_image"] > 50


def test_mutated_photographs_decode_or_are_rejected(examine: Callable[..., Any], real_photographs: list[bytes]) -> None:
    assert examine(read_image, real_photographs, count=100).outcomes["decoded"] > 10


@pytest.mark.soak
def test_thousands_of_mutated_images_neither_crash_nor_hang(examine: Callable[..., Any], seeds: list[bytes]) -> None:
    examined = examine(read_image, seeds, count=SOAK_EXAMPLES, in_child=True)
    print(f"\n{examined.outcomes.total()} mutated images: {dict(examined.outcomes)}, ", end="")
    print(f"{examined.peak_bytes >> 20} MB at most")
    assert examined.outcomes.total() >= SOAK_EXAMPLES


@pytest.mark.soak
def test_thousands_of_mutated_photographs_neither_crash_nor_hang(
    examine: Callable[..., Any], real_photographs: list[bytes]
) -> None:
    examined = examine(read_image, real_photographs, count=3000, in_child=True)
    print(f"\n{examined.outcomes.total()} mutated photographs: {dict(examined.outcomes)}, ", end="")
    print(f"{examined.peak_bytes >> 20} MB at most")
    assert examined.outcomes.total() >= 3000
