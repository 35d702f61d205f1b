"""Valid images of unusual kinds: what the fast JPEG decoder refuses, and modes, frames and alpha of other formats."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import simplejpeg
import torch
from PIL import Image

from rded_core.io.device.jpegs import decode_jpegs
from rded_core.io.formats.images import RejectedImage, decode_image, jpeg_size, read_header
from tests.rded_core.io.formats.raw_files import jpeg_of

SAMPLINGS = [(h, v) for h in (1, 2, 3, 4) for v in (1, 2, 3, 4) if h * v <= 8]


def level(channel: int, block: int) -> int:
    return (block * 37 % 100 - 50, 30, -40, 10)[channel]


def pillows(data: bytes) -> torch.Tensor:
    with Image.open(io.BytesIO(data)) as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def stored(image: Image.Image, image_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=image_format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=[f"{h}x{v}" for h, v in SAMPLINGS])
@pytest.mark.parametrize("size", [(40, 40), (7, 33), (1, 1)])
def test_every_chroma_sampling_has_pillows_pixels(sampling: tuple[int, int], size: tuple[int, int]) -> None:
    data = jpeg_of(*size, [sampling, (1, 1), (1, 1)], level)
    assert jpeg_size(data) in (None, size)
    assert torch.equal(decode_image(data), pillows(data))
    assert read_header(data) == "jpg"


def test_chroma_of_1_x_4_sampling_decodes_to_its_levels() -> None:
    data = jpeg_of(
        32, 8, [(1, 4), (1, 1), (1, 1)], lambda channel, block: (-60, -20, 20, 60)[block] if not channel else 0
    )
    assert decode_image(data)[:, ::8, 0].tolist() == [[68, 108, 148, 188]] * 3
    (found,) = decode_jpegs([data], torch.device("cpu"))
    assert isinstance(found, torch.Tensor)
    assert torch.equal(found, decode_image(data))


@pytest.mark.parametrize(
    ("sampling", "options"),
    [
        ([(1, 1), (2, 2), (2, 2)], {}),
        ([(2, 2), (1, 2), (1, 1)], {}),
        ([(1, 1)], {}),
        ([(1, 1)] * 3, {"adobe": 0}),
        ([(2, 2), (1, 1), (1, 1)], {"adobe": 0}),
        ([(1, 1)] * 4, {}),
        ([(1, 1)] * 4, {"adobe": 0}),
        ([(2, 2), (1, 1), (1, 1), (2, 2)], {"adobe": 2}),
        ([(1, 1)] * 3, {"frame": 0xC1}),
    ],
    ids=["large chroma", "unequal chroma", "grey", "RGB", "sampled RGB", "CMYK", "Adobe CMYK", "YCCK", "extended"],
)
def test_unusual_jpegs_have_pillows_pixels(sampling: list[tuple[int, int]], options: dict[str, Any]) -> None:
    data = jpeg_of(24, 40, sampling, level, **options)
    assert torch.equal(decode_image(data), pillows(data))


@pytest.mark.parametrize("adobe", [None, 0])
@pytest.mark.parametrize(("ink", "rgb"), [(127, 255), (-128, 0)])
def test_cmyk_jpegs_are_read_as_adobe_writes_them(adobe: int | None, ink: int, rgb: int) -> None:
    data = jpeg_of(8, 8, [(1, 1)] * 4, lambda *_: ink, adobe=adobe)
    assert decode_image(data).unique().tolist() == [rgb]


@pytest.mark.parametrize("options", [{"bits": 12, "frame": 0xC1}, {"bits": 16, "frame": 0xC1}])
def test_jpegs_of_more_than_8_bits_are_rejected_by_name(options: dict[str, int]) -> None:
    data = jpeg_of(8, 8, [(1, 1)], level, **options)
    assert jpeg_size(data) in (None, (8, 8))
    for read in (decode_image, read_header):
        with pytest.raises(
            RejectedImage, match=f"unsupported_pixels: JPEG: cannot handle {options['bits']}-bit layers"
        ):
            read(data)


@pytest.mark.parametrize("function", ["decode_jpeg_header", "decode_jpeg"])
@pytest.mark.parametrize("error", [KeyError(6), ValueError("odd"), RuntimeError("x"), TypeError("x"), OSError("x")])
def test_any_error_of_the_fast_decoder_leaves_an_image_to_pillow(
    monkeypatch: pytest.MonkeyPatch, function: str, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    data = stored(Image.new("RGB", (9, 7), (200, 100, 50)), "JPEG")
    expected = decode_image(data)
    monkeypatch.setattr(simplejpeg, function, fail)
    assert torch.equal(decode_image(data), expected)
    assert jpeg_size(data) == (None if function == "decode_jpeg_header" else (7, 9))


@pytest.mark.parametrize(
    "options", [{"progressive": True}, {"restart_marker_blocks": 1}, {"icc_profile": b"x" * 200}, {"optimize": True}]
)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_usual_variants_of_jpeg_have_pillows_pixels(mode: str, options: dict[str, Any]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (33, 17, 3)).astype(np.uint8)
    data = stored(Image.fromarray(noise).convert(mode), "JPEG", **options)
    assert jpeg_size(data) == (33, 17)
    assert torch.equal(decode_image(data), pillows(data))


def _png(bits: int, colour_type: int, row: bytes, width: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, 1, bits, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("bits", "colour_type", "row", "pixels"),
    [
        (16, 0, "0000 0101 8080 ffff", [[0] * 3, [1] * 3, [128] * 3, [255] * 3]),
        (16, 4, "0101 0000 ffff 8000", [[1] * 3, [255] * 3]),
        (16, 2, "0101 8080 ffff", [[1, 128, 255]]),
        (16, 6, "0101 8080 ffff 0000", [[1, 128, 255]]),
        (8, 4, "1000 ff80", [[16] * 3, [255] * 3]),
        (4, 0, "0f", [[0] * 3, [255] * 3]),
        (2, 0, "1b", [[0] * 3, [85] * 3, [170] * 3, [255] * 3]),
        (1, 0, "40", [[0] * 3, [255] * 3]),
    ],
)
def test_every_depth_of_png_reaches_white(bits: int, colour_type: int, row: str, pixels: list[list[int]]) -> None:
    data = _png(bits, colour_type, bytes.fromhex(row), len(pixels))
    assert decode_image(data).flatten(1).T.tolist() == pixels


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
def test_the_first_frame_counts(image_format: str) -> None:
    first, second = Image.new("RGB", (16, 16), (255, 0, 0)), Image.new("RGB", (16, 16), (0, 0, 255))
    options = {"lossless": True} if image_format == "WEBP" else {}
    data = stored(first, image_format, save_all=True, append_images=[second], **options)
    assert (decode_image(data)[:, 8, 8].int() - torch.tensor([255, 0, 0])).abs().max() <= 1


def _bmp(bits: int, pixel: bytes, *, masks: bytes = b"") -> bytes:
    offset = 14 + 40 + len(masks)
    header = struct.pack("<IiiHHIIiiII", 40, 1, 1, 1, bits, 3 if masks else 0, 4, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", offset + 4, 0, 0, offset) + header + masks + pixel.ljust(4, b"\0")


@pytest.mark.parametrize(
    "data",
    [
        _bmp(24, bytes([50, 100, 200])),
        _bmp(32, bytes([50, 100, 200, 0])),
        _bmp(32, bytes([50, 100, 200, 128]), masks=struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)),
    ],
    ids=["24", "32", "alpha"],
)
def test_bmp_keeps_its_colour_and_drops_alpha(data: bytes) -> None:
    assert decode_image(data).flatten().tolist() == [200, 100, 50]


@pytest.mark.parametrize("image_format", ["TGA", "PCX", "ICO", "PDF"])
def test_formats_that_are_not_read_are_rejected(image_format: str) -> None:
    with pytest.raises(RejectedImage, match="not_an_image"):
        decode_image(stored(Image.new("RGB", (16, 16)), image_format))


def test_openexr_is_rejected() -> None:
    with pytest.raises(RejectedImage, match="not_an_image"):
        decode_image(b"\x76\x2f\x31\x01\x02\0\0\0channels\0chlist\0" + b"\0" * 64)
