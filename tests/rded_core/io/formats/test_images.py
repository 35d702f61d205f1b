"""The image codec: every kind of stored image to RGB uint8, or a rejection with its reason."""

import io
import random
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from rded_core.io.formats import images
from rded_core.io.formats.images import (
    IMAGE_FORMATS,
    RejectedImage,
    decode_image,
    encode_image,
    image_suffix,
    read_header,
)

REASONS = {"empty", "not_an_image", "truncated", "too_many_pixels", "unsupported_pixels", "unknown_range", "missing"}


def picture(height: int = 20, width: int = 30) -> Image.Image:
    rows, columns = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([rows * 9, columns * 7, (rows + columns) * 4], axis=-1).astype(np.uint8))


def stored(image: Image.Image, image_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=image_format, **options)
    return buffer.getvalue()


def pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, *, bits: int, colour_type: int, rows: bytes) -> bytes:
    """Returns a PNG of raw scanlines (each with its filter byte), with valid checksums."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def reason_of(data: bytes) -> str:
    with pytest.raises(RejectedImage) as caught:
        decode_image(data)
    return caught.value.reason


@pytest.mark.parametrize(
    ("image_format", "options", "tolerance"),
    [("PNG", {}, 0), ("WEBP", {"lossless": True}, 0), ("BMP", {}, 0), ("TIFF", {}, 0), ("JPEG", {"quality": 95}, 24)],
)
def test_colour_images_decode_to_rgb_chw(image_format: str, options: dict[str, Any], tolerance: int) -> None:
    decoded = decode_image(stored(picture(), image_format, **options))
    assert decoded.shape == (3, 20, 30)
    assert decoded.dtype == torch.uint8
    assert (decoded.int() - pixels(picture()).int()).abs().max() <= tolerance


@pytest.mark.parametrize("image_format", ["PNG", "JPEG"])
def test_grey_images_repeat_their_channel(image_format: str) -> None:
    decoded = decode_image(stored(picture().convert("L"), image_format))
    assert torch.equal(decoded[0], decoded[1])
    assert torch.equal(decoded[0], decoded[2])
    assert decoded.float().std() > 5


@pytest.mark.parametrize(("ink", "rgb"), [((0, 0, 0, 0), 255), ((0, 0, 0, 255), 0)])
@pytest.mark.parametrize("image_format", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(image_format: str, ink: tuple[int, ...], rgb: int) -> None:
    decoded = decode_image(stored(Image.new("CMYK", (9, 7), ink), image_format))
    assert decoded.shape == (3, 7, 9)
    assert decoded.unique().tolist() == [rgb]


def test_palette_images_show_their_colours() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    for options in ({}, {"transparency": 0}, {"transparency": b"\x00\x80"}):
        assert decode_image(stored(image, "PNG", **options)).flatten(1).T.tolist() == [[10, 20, 30], [200, 100, 50]]


@pytest.mark.parametrize(("mode", "value"), [("RGBA", (10, 20, 30, 0)), ("LA", (77, 3))])
def test_alpha_is_dropped(mode: str, value: tuple[int, ...]) -> None:
    decoded = decode_image(stored(Image.new(mode, (2, 2), value), "PNG"))
    assert decoded[:, 0, 0].tolist() == (list(value[:3]) if mode == "RGBA" else [77, 77, 77])


def test_bilevel_images_are_black_and_white() -> None:
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    assert decode_image(stored(image, "PNG"))[0].tolist() == [[0, 255]]


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    levels = np.array([[0, 128, 129, 257, 300, 32768, 65407, 65535]], dtype=np.uint16)
    decoded = decode_image(stored(Image.fromarray(levels), "PNG"))
    assert decoded[0].tolist() == [[0, 0, 1, 1, 1, 128, 255, 255]]
    assert torch.equal(decoded[0], decoded[2])


@pytest.mark.parametrize("colour_type", [2, 6])
def test_sixteen_bit_colour_is_scaled(colour_type: int) -> None:
    alpha = b"\xff\xff" if colour_type == 6 else b""
    row = b"\x00" + b"".join(struct.pack(">HHH", *rgb) + alpha for rgb in ((0, 32768, 65535), (257, 1000, 50000)))
    decoded = decode_image(png_of(2, 1, bits=16, colour_type=colour_type, rows=row))
    expected = torch.tensor([[0, 128, 255], [1, 4, 195]])
    assert (decoded.flatten(1).T.int() - expected).abs().max() <= 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_float_pixels_that_are_not_finite_are_rejected(value: float) -> None:
    pixels_stored = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    assert decode_image(stored(Image.fromarray(pixels_stored), "TIFF")).shape == (3, 3, 4)
    pixels_stored[1, 2] = value
    assert reason_of(stored(Image.fromarray(pixels_stored), "TIFF")) == "truncated"


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_exif_rotation_is_not_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    rotated, plain = stored(picture(), "JPEG", exif=exif), stored(picture(), "JPEG")
    assert rotated != plain
    assert torch.equal(decode_image(rotated), decode_image(plain))


def test_an_animation_gives_its_first_frame() -> None:
    first, second = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    data = stored(first, "GIF", save_all=True, append_images=[second])
    assert decode_image(data)[:, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.6, 0.9])
def test_truncated_images_are_rejected(image_format: str, share: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8))
    data = stored(noise, image_format)
    assert reason_of(data[: int(len(data) * share)]) == "truncated"


def test_no_bytes_are_rejected_as_empty() -> None:
    assert reason_of(b"") == "empty"


@pytest.mark.parametrize("data", [b"a text file called photo.jpg\n", b"\x00" * 64, b"<svg/>", b"%PDF-1.4"])
def test_data_that_is_not_an_image_is_rejected(data: bytes) -> None:
    assert reason_of(data) == "not_an_image"


@pytest.mark.parametrize("side", [20_000, 2_000_000_000])
def test_a_huge_header_is_rejected_before_its_pixels(side: int) -> None:
    data = png_of(side, side, bits=8, colour_type=2, rows=b"\x00" * 100)
    assert reason_of(data) == "too_many_pixels"
    with pytest.raises(RejectedImage, match="too_many_pixels"):
        read_header(data)


def test_the_pixel_limit_is_the_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    data = stored(picture(20, 30), "PNG")
    monkeypatch.setattr(images, "MAX_IMAGE_PIXELS", 600)
    assert decode_image(data).shape == (3, 20, 30)
    monkeypatch.setattr(images, "MAX_IMAGE_PIXELS", 599)
    assert reason_of(data) == "too_many_pixels"


def test_text_that_inflates_is_rejected() -> None:
    whole = stored(picture(), "PNG")
    bomb = whole[:33] + png_chunk(b"zTXt", b"note\0\0" + zlib.compress(b"a" * 5_000_000)) + whole[33:]
    assert reason_of(bomb) == "truncated"


@pytest.mark.parametrize(("image_format", "suffix"), [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp")])
def test_the_header_names_the_format(image_format: str, suffix: str) -> None:
    data = stored(picture(), image_format)
    assert read_header(data) == suffix
    assert image_suffix(image_format.lower()) == suffix


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_damaged_images_decode_or_are_rejected(image_format: str) -> None:
    whole = stored(picture(), image_format)
    draw = random.Random(image_format)
    outcomes: Counter[str] = Counter()
    for _ in range(500):
        data = bytearray(whole[: draw.randrange(len(whole))] if draw.random() < 0.3 else whole)
        for _ in range(draw.choice((1, 2, 8, 40)) if data else 0):
            data[draw.randrange(min(len(data), draw.choice((40, 200, 10_000))))] = draw.randrange(256)
        try:
            decoded = decode_image(bytes(data))
        except RejectedImage as error:
            outcomes[error.reason] += 1
        else:
            assert decoded.dtype == torch.uint8
            assert decoded.shape[0] == 3
            outcomes["decoded"] += 1
    assert set(outcomes) <= REASONS | {"decoded"}
    assert outcomes["truncated"] > 20
    assert outcomes["not_an_image"] > 20


@pytest.mark.parametrize("image_format", IMAGE_FORMATS)
def test_encoding_is_deterministic_and_close(image_format: str) -> None:
    image = pixels(picture(24, 24)).contiguous()
    data = encode_image(image, image_format, 95)
    assert data == encode_image(image.clone(), image_format, 95)
    assert data == encode_image(image.permute(1, 2, 0).contiguous().permute(2, 0, 1), image_format, 95)
    assert read_header(data) == image_suffix(image_format)
    decoded = decode_image(data)
    assert (decoded.float() - image.float()).abs().mean() <= (0 if image_format == "png" else 6)


def test_png_is_exact_and_ignores_quality() -> None:
    noise = torch.randint(0, 256, (3, 17, 17), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    data = encode_image(noise, "png", 1)
    assert data == encode_image(noise, "png", 100)
    assert torch.equal(decode_image(data), noise)


@pytest.mark.parametrize("image_format", ["jpeg", "webp"])
def test_quality_matters_in_lossy_formats(image_format: str) -> None:
    image = pixels(picture(24, 24))
    assert len(encode_image(image, image_format, 10)) < len(encode_image(image, image_format, 95))


@pytest.fixture
def as_pillow_decodes(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], Tensor | str]:
    """Decodes with Pillow alone: the pixels, or the reason for the rejection."""

    def decode(data: bytes) -> Tensor | str:
        with monkeypatch.context() as patched:
            patched.setattr(images, "_decode_sound_jpeg", lambda _: None)
            return outcome_of(data)

    return decode


def outcome_of(data: bytes) -> Tensor | str:
    try:
        return decode_image(data)
    except RejectedImage as error:
        return error.reason


def same(first: Tensor | str, second: Tensor | str) -> bool:
    if isinstance(first, str) or isinstance(second, str):
        return first == second
    return torch.equal(first, second)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (101, 53)])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_intact_jpegs_have_pillows_pixels(
    as_pillow_decodes: Callable[[bytes], Tensor | str], mode: str, size: tuple[int, int], subsampling: int
) -> None:
    source = picture(60, 110).resize(size).convert(mode)
    for progressive in (False, True):
        for quality in (5, 60, 95):
            data = stored(source, "JPEG", subsampling=subsampling, progressive=progressive, quality=quality)
            assert same(outcome_of(data), as_pillow_decodes(data))


def test_damaged_jpegs_decode_as_in_pillow(as_pillow_decodes: Callable[[bytes], Tensor | str]) -> None:
    sound, draw = stored(picture(64, 80), "JPEG", quality=85), random.Random(0)
    for _ in range(300):
        data = bytearray(sound[: draw.randrange(2, len(sound))] if draw.random() < 0.3 else sound)
        for _ in range(draw.randrange(4)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        assert same(outcome_of(bytes(data)), as_pillow_decodes(bytes(data)))
