"""Image codec: any stored image to uint8 RGB, and distilled images to bytes."""

import io
import struct
import warnings

import numpy as np
import simplejpeg
import torch
from jaxtyping import UInt8
from PIL import Image, ImageFile, UnidentifiedImageError
from torch import Tensor

from rded_core.io.formats.pixel_forms import is_read_differently, unopened_form, unreadable_form
from rded_core.io.formats.pixels import UnknownRange, to_rgb
from rded_core.io.storage.stand_ins import is_lfs_pointer

MAX_IMAGE_PIXELS = 178_956_970
"""Images above this are rejected before their pixels are decoded (Pillow's own bomb limit, about 13k x 13k)."""

Image.init()
READ_FORMATS = tuple(
    name
    for name in ("JPEG", "MPO", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
    if name in Image.OPEN
)
"""Formats that Pillow may try: pixels only, none that runs another program (EPS)."""

# Pillow warns of odd metadata and of large images: the first does not matter here, the second are rejected by size.
warnings.filterwarnings("ignore", module=r"PIL\.")

DAMAGE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    LookupError,
    TypeError,
    ArithmeticError,
    AttributeError,
    MemoryError,
)
"""What Pillow raises for damaged headers and pixels."""

IMAGE_FORMATS = ("jpeg", "png", "webp")
"""Formats a distilled image may be stored in."""


class RejectedImage(Exception):
    """A stored image that cannot be used; `reason` is one of a small closed set, counted and reported.

    Reasons: ``empty`` (no bytes), ``not_an_image``, ``lfs_pointer`` (a text of Git LFS in place of the image: run
    ``git lfs pull``), ``truncated`` (header fine, pixels missing or broken),
    ``too_many_pixels`` (decompression bomb), ``unsupported_pixels`` (a form that Pillow decodes wrongly or not at
    all, such as colour JPEG 2000 of more than 8 bits), ``unknown_range`` (numbers that do not show which of them are
    black and white), ``missing`` (vanished since it was indexed), ``changed`` (a different image since it was drawn).
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


def read_header(data: bytes) -> str:
    """Returns the file extension of an image's format, without the dot, from its header alone.

    Raises:
        RejectedImage: no bytes, not an image, too many pixels, or pixels that cannot be read exactly.
    """
    with _open_image(data) as image:
        return image_suffix((image.format or "img").lower())


def is_form_read_differently(data: bytes) -> bool:
    """Whether earlier versions decoded an image to other pixels, or decoded one that is rejected now, by its header."""
    try:
        with _open_image(data) as image:
            return is_read_differently(image, data)
    except RejectedImage as error:
        return error.reason == "unsupported_pixels"


def decode_image(data: bytes) -> UInt8[Tensor, "3 h w"]:
    """Decodes an image in one of `READ_FORMATS` to uint8 RGB, pixels as stored (EXIF rotation not applied).

    Intact grey and colour JPEGs go through simplejpeg: the same pixels as Pillow's in about half the time. A pixel's
    channels are adjacent in memory, as codecs write them. Grey, palette, CMYK and alpha images become RGB as in
    torchvision's loader (alpha is dropped); numbers wider than a byte are scaled to 8 bits by the range that they are
    stored in (`pixels`), while Pillow alone would clip them; an animation gives its first frame.

    Raises:
        RejectedImage: with the reason.
    """
    pixels = _decode_sound_jpeg(data)
    if pixels is not None:
        return torch.from_numpy(pixels).permute(2, 0, 1)
    with _open_image(data) as image:
        try:
            rgb = to_rgb(image, data)
        except UnknownRange as error:
            raise RejectedImage("unknown_range", str(error)) from error
        except DAMAGE_ERRORS as error:
            raise RejectedImage("truncated", str(error)) from error
    # HWC to CHW; a copy, since Pillow's buffer is read-only.
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1)


def _decode_sound_jpeg(data: bytes) -> np.ndarray | None:
    """Decodes a JPEG of grey or YCbCr pixels to h w 3; None if anything is unusual, which is left to Pillow."""
    try:
        return simplejpeg.decode_jpeg(data, "RGB") if jpeg_size(data) else None
    except Exception:  # for any error of the fast decoder, Pillow decides
        return None


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Returns height and width of a grey or YCbCr JPEG of allowed size from its header; None for anything else."""
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except Exception:  # such as KeyError for chroma of 1 x 4 sampling in simplejpeg 1.9
        return None
    fits = colours in ("YCbCr", "Gray") and int(height) * int(width) <= MAX_IMAGE_PIXELS
    return (int(height), int(width)) if fits else None


def encode_image(image: UInt8[Tensor, "3 h w"], image_format: str, quality: int) -> bytes:
    """Encodes uint8 RGB as ``jpeg``, ``png`` or ``webp``; same pixels and settings give the same bytes.

    `quality` (1..100) is the codec's own scale; PNG is lossless and ignores it.
    """
    buffer = io.BytesIO()
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    options = {"jpeg": {"quality": quality}, "webp": {"quality": quality, "method": 4}, "png": {"compress_level": 6}}
    picture.save(buffer, format=image_format, **options[image_format])
    return buffer.getvalue()


def image_suffix(image_format: str) -> str:
    """Returns the file extension of a format, without the dot: ``jpg``, ``png`` or ``webp``."""
    return "jpg" if image_format == "jpeg" else image_format


def _open_image(data: bytes) -> ImageFile.ImageFile:
    if not data:
        raise RejectedImage("empty")
    try:
        image = Image.open(io.BytesIO(data), formats=READ_FORMATS)
    except UnidentifiedImageError as error:
        if is_lfs_pointer(data):
            raise RejectedImage("lfs_pointer", "run git lfs pull") from error
        form = unopened_form(data)
        raise RejectedImage("unsupported_pixels" if form else "not_an_image", form) from error
    except Image.DecompressionBombError as error:
        raise RejectedImage("too_many_pixels", str(error)) from error
    except DAMAGE_ERRORS as error:
        raise RejectedImage("truncated", str(error)) from error
    if image.width * image.height > MAX_IMAGE_PIXELS:
        raise RejectedImage("too_many_pixels", f"{image.width} x {image.height}")
    if form := unreadable_form(image, data):
        raise RejectedImage("unsupported_pixels", form)
    return image
