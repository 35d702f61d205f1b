"""Image files written byte by byte, so that the numbers in them are known without a library."""

import io
import struct
import zlib
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

SAMPLE_FORMATS = {"u": 1, "i": 2, "f": 3}


def tiff_of(
    numbers: np.ndarray,
    *,
    order: str = "<",
    photometric: int | None = None,
    bits: int | None = None,
    rows: bytes | None = None,
    compressed: bool = False,
    planar: bool = False,
    colours: Sequence[int] = (),
    extra: Sequence[int] = (),
    orientation: int = 1,
) -> bytes:
    """Returns a TIFF file of one strip (or one a plane) of `numbers`, h w or h w c; `rows` replaces its bytes."""
    stored = numbers.astype(numbers.dtype.newbyteorder(order))
    height, width, channels = (*stored.shape, 1)[:3]
    planes = [stored.reshape(height, width, channels)[:, :, i] for i in range(channels)] if planar else [stored]
    strips = [rows if rows is not None else plane.tobytes() for plane in planes]
    if compressed:
        strips = [zlib.compress(strip) for strip in strips]
    depth = bits or stored.dtype.itemsize * 8
    default = 2 if channels >= 3 else 1
    starts = [8 + sum(map(len, strips[:i])) for i in range(len(strips))]
    tags: list[tuple[int, str, Sequence[int]]] = [
        (256, "L", [width]),
        (257, "L", [height]),
        (258, "H", [depth] * channels),
        (259, "H", [8 if compressed else 1]),
        (262, "H", [default if photometric is None else photometric]),
        (273, "L", starts),
        (274, "H", [orientation]),
        (277, "H", [channels]),
        (278, "L", [height]),
        (279, "L", [len(strip) for strip in strips]),
        (284, "H", [2 if planar else 1]),
        *([(320, "H", colours)] if colours else []),
        *([(338, "H", extra)] if extra else []),
        (339, "H", [SAMPLE_FORMATS[stored.dtype.kind]] * channels),
    ]
    return _tiff_of_tags(tags, b"".join(strips), order)


def _tiff_of_tags(tags: Sequence[tuple[int, str, Sequence[int]]], pixels: bytes, order: str) -> bytes:
    at = 8 + len(pixels)
    values_at = at + 2 + 12 * len(tags) + 4
    entries, values = b"", b""
    for tag, kind, items in tags:
        packed = struct.pack(f"{order}{len(items)}{kind}", *items)
        entries += struct.pack(f"{order}HHL", tag, 3 if kind == "H" else 4, len(items))
        if len(packed) <= 4:
            entries += packed.ljust(4, b"\0")
        else:
            entries += struct.pack(f"{order}L", values_at + len(values))
            values += packed
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HL", 42, at)
    return head + pixels + struct.pack(f"{order}H", len(tags)) + entries + b"\0" * 4 + values


def pgm_of(numbers: np.ndarray, top: int, *, plain: bool = False) -> bytes:
    """Returns a PGM file, binary or plain text, whose header says that `top` is white."""
    height, width = numbers.shape
    head = f"P{2 if plain else 5}\n{width} {height}\n{top}\n".encode()
    packed = numbers.astype(">u2" if top > 255 else "u1").tobytes()
    return head + (" ".join(map(str, numbers.ravel())).encode() if plain else packed)


def pfm_of(numbers: np.ndarray, *, order: str = "<") -> bytes:
    """Returns a PFM file, grey or in colour; its rows run from the bottom up."""
    height, width = numbers.shape[:2]
    kind, scale = "Pf" if numbers.ndim == 2 else "PF", "-1.0" if order == "<" else "1.0"
    return f"{kind}\n{width} {height}\n{scale}\n".encode() + numbers[::-1].astype(f"{order}f4").tobytes()


def jpeg2000_of(picture: Image.Image, bits: int) -> bytes:
    """Returns Pillow's lossless codestream of 8 bits, whose header says `bits` instead.

    A decoder adds half of the range that the header says: 128 is taken off here, and 1 << (bits - 1) comes back.
    """
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG2000", no_jp2=True)
    data = bytearray(buffer.getvalue())
    (channels,) = struct.unpack_from(">H", data, 40)
    for channel in range(channels):
        data[42 + 3 * channel] = bits - 1
    return bytes(data)


def jpeg_of(
    height: int,
    width: int,
    sampling: Sequence[tuple[int, int]],
    level: Callable[[int, int], int],
    *,
    frame: int = 0xC0,
    bits: int = 8,
    adobe: int | None = None,
) -> bytes:
    """Returns a baseline JPEG of blocks that have one level each, ``level(channel, block)`` between -127 and 127.

    `sampling` is each channel's horizontal and vertical factor, `frame` the marker of the frame header.
    """
    shape = struct.pack(">BHHB", bits, height, width, len(sampling))
    channels = b"".join(bytes([n, h * 16 + v, 0]) for n, (h, v) in enumerate(sampling, start=1))
    tables = b"".join(bytes([n, 0]) for n in range(1, len(sampling) + 1))
    return b"".join(
        [
            b"\xff\xd8",
            *([] if adobe is None else [_segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([adobe]))]),
            _segment(0xDB, b"\0" + bytes([8] * 64)),
            _segment(frame, shape + channels),
            _segment(0xC4, b"\x00" + bytes([0, 0, 0, 12] + [0] * 12) + bytes(range(12))),  # a code of 4 bits a size
            _segment(0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\0"),  # one code of 1 bit: nothing but the mean
            _segment(0xDA, bytes([len(sampling)]) + tables + bytes([0, 63, 0])),
            _scan(height, width, sampling, level),
            b"\xff\xd9",
        ]
    )


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _scan(height: int, width: int, sampling: Sequence[tuple[int, int]], level: Callable[[int, int], int]) -> bytes:
    across = 8 * max(h for h, _ in sampling) if len(sampling) > 1 else 8
    down = 8 * max(v for _, v in sampling) if len(sampling) > 1 else 8
    bits, last, seen = "", [0] * len(sampling), [0] * len(sampling)
    for _ in range(-(-width // across) * -(-height // down)):
        for channel, (h, v) in enumerate(sampling):
            for _ in range(h * v if len(sampling) > 1 else 1):
                value = level(channel, seen[channel])
                step, last[channel] = value - last[channel], value
                seen[channel] += 1
                size = abs(step).bit_length()
                bits += (
                    f"{size:04b}" + (f"{step if step > 0 else step + (1 << size) - 1:0{size}b}" if size else "") + "0"
                )
    bits += "1" * (-len(bits) % 8)
    packed = bytes(int(bits[start : start + 8], 2) for start in range(0, len(bits), 8))
    return packed.replace(b"\xff", b"\xff\0")
