"""Forms of stored pixels, read from an image's header: those that Pillow decodes to wrong values or not at all."""

import io
import struct
from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageFile, JpegImagePlugin, TiffImagePlugin

FORMS_VERSION = 2
"""Version of how the forms that `is_read_differently` names are read; the others are read as in version 1."""

BITS, PHOTOMETRIC, PLANAR, COLORMAP, EXTRA, SAMPLE_FORMAT = 258, 262, 284, 320, 338, 339
"""Numbers of TIFF tags."""

UNSIGNED, SIGNED = 1, 2
"""Values of the TIFF tag SampleFormat."""

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
JPEG2000_MAGIC = (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")
PNM_MAGIC = (b"P2", b"P5", b"Pf")
MAGIC_CHARS = 8
"""Number of first bytes that `may_be_read_differently` needs."""

SUFFIXES = (".tif", ".tiff", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".pgm", ".pnm", ".ppm", ".pfm")
"""Endings of files that may hold a form that is read differently than in version 1."""


def unreadable_form(image: Image.Image, data: bytes) -> str:
    """Returns why Pillow would decode an opened image to wrong pixels; empty if it does not."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return _unreadable_tiff(image)
    depths = colour_depths(data) if image.format == "JPEG2000" else ()
    if not depths:
        return ""
    deepest = 16 if len(depths) == 1 and image.mode == "I;16" else 8
    if max(depths) > deepest:
        return f"JPEG 2000 of {max(depths)} bits in mode {image.mode}"
    odd = min(depths) < 8 and (len(set(depths)) > 1 or image.mode not in ("L", "LA", "RGB", "RGBA"))
    return f"JPEG 2000 of {min(depths)} bits in mode {image.mode}" if odd else ""


def unopened_form(data: bytes) -> str:
    """Returns why Pillow opens no image although `data` is one; empty if it is not an image."""
    if data.startswith(b"PF\n"):
        return "PFM in colour"
    plugin = _plugin_of(data)
    try:
        if plugin:
            plugin(io.BytesIO(data))
    except SyntaxError as error:
        known = str(error).startswith(("unknown pixel mode", "cannot handle"))
        return f"{plugin.format if plugin else ''}: {error}" if known else ""
    except Exception:  # Pillow raises many kinds for damaged headers
        return ""
    return ""


def _plugin_of(data: bytes) -> type[ImageFile.ImageFile] | None:
    if data.startswith(TIFF_MAGIC):
        return TiffImagePlugin.TiffImageFile
    return JpegImagePlugin.JpegImageFile if data.startswith(b"\xff\xd8\xff") else None


def may_be_read_differently(magic: bytes) -> bool:
    """Whether the first bytes of a file allow a form that is read differently than in version 1."""
    return magic.startswith((*TIFF_MAGIC, *JPEG2000_MAGIC, *PNM_MAGIC))


def is_read_differently(image: Image.Image, data: bytes) -> bool:
    """Whether version 1 decoded an opened image, which is not an `unreadable_form`, to other pixels."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return image.mode in ("I", "F") or bits_of(image) == (12,) or is_inverted(image) or bool(byte_palette(image))
    depths = colour_depths(data) if image.format == "JPEG2000" else ()
    return image.mode in ("I", "F") or min(depths, default=8) < 8


def colour_depths(data: bytes) -> tuple[int, ...]:
    """Returns the bits of each colour channel of a JPEG 2000 file, without alpha; empty if it has no codestream."""
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0 or len(data) < start + 42:
        return ()
    (channels,) = struct.unpack_from(">H", data, start + 40)
    precisions = data[start + 42 : start + 42 + 3 * channels : 3]
    return tuple((code & 0x7F) + 1 for code in precisions[: 3 if channels > 2 else 1])


def bits_of(image: Image.Image) -> tuple[Any, ...]:
    """Returns the bits of each channel of a TIFF file, as its header says."""
    return _values(image, BITS, (1,))


def sample_format(image: Image.Image) -> Any:
    """Returns whether the numbers of a TIFF file are `UNSIGNED`, `SIGNED` or floats (3)."""
    return next(iter(_values(image, SAMPLE_FORMAT, (UNSIGNED,))), UNSIGNED)


def is_inverted(image: Image.Image) -> bool:
    """Whether an image is a TIFF file in which 0 is white, and Pillow leaves it so: of more than 8 bits."""
    return image.mode[:1] in ("I", "F") and _values(image, PHOTOMETRIC, ()) == (0,)


def byte_palette(image: Image.Image) -> Sequence[int]:
    """Returns the colours of a TIFF file whose palette has values of 8 instead of 16 bits: red, green, then blue."""
    colours = _values(image, COLORMAP, ()) if image.mode in ("P", "PA") else ()
    is_bytes = all(isinstance(value, int) and 0 <= value < 256 for value in colours)
    return colours if is_bytes and any(colours) and len(colours) % 3 == 0 else ()


def _values(image: Image.Image, tag: int, default: tuple[Any, ...]) -> tuple[Any, ...]:
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    value = tags.get(tag, default)
    return value if isinstance(value, tuple) else (value,)


def _unreadable_tiff(image: TiffImagePlugin.TiffImageFile) -> str:
    if image.mode == "L" and sample_format(image) == SIGNED:
        return "signed TIFF of 8 bits"
    if _values(image, PLANAR, (1,)) != (2,) or not any(tile.codec_name == "raw" for tile in image.tile):
        return ""
    # Pillow reads each plane by the first letter of its raw mode, which drops byte order, depth and inversion.
    plain = set(bits_of(image)) == {8} and 1 not in _values(image, EXTRA, ())
    fits = plain and _values(image, PHOTOMETRIC, ()) in ((1,), (2,), (3,), (5,)) and sample_format(image) == UNSIGNED
    return "" if fits else f"TIFF of uncompressed planes, {bits_of(image)} bits in mode {image.mode}"
