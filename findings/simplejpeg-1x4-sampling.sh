#!/usr/bin/env bash
# simplejpeg 1.9.0: the header of a valid JPEG with 1 x 4 chroma sampling (4:4:1) raises KeyError.
#
# Valid input: a baseline JPEG of 8 x 32 pixels whose luma has sampling factors 1 x 4 and whose chroma 1 x 1, written
# below. Pillow 13.0.0 and simplejpeg.decode_jpeg itself decode it to the same pixels.
# Expected: decode_jpeg_header returns height, width, colour space and sampling, or raises the ValueError that it
# raises for samplings that it does not know (3 x 1).
# Seen: KeyError: 6. The number of libjpeg-turbo's TJSAMP_441 is missing in its table of names.
#
# Output seen:
#   1 x 2: (32, 8, 'YCbCr', '440')
#   1 x 4: KeyError(6), decode_jpeg: (32, 8, 3), the same pixels as Pillow's: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet simplejpeg==1.9.0 pillow==13.0.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import io
import struct

import numpy as np
import simplejpeg
from PIL import Image


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg(vertical: int) -> bytes:
    """A JPEG of 8 x 32 grey pixels: every block repeats the level of 0, one bit for it and one for nothing else."""
    channels = b"".join(bytes([number, factors, 0]) for number, factors in ((1, 0x10 + vertical), (2, 0x11), (3, 0x11)))
    one_code = bytes([1] + [0] * 15) + b"\0"
    blocks = (vertical + 2) * (4 // vertical)
    bits = ("00" * blocks).ljust(-(-2 * blocks // 8) * 8, "1")
    return b"".join(
        [
            b"\xff\xd8",
            segment(0xDB, b"\0" + bytes([8] * 64)),
            segment(0xC0, struct.pack(">BHHB", 8, 32, 8, 3) + channels),
            segment(0xC4, b"\x00" + one_code),
            segment(0xC4, b"\x10" + one_code),
            segment(0xDA, bytes([3, 1, 0, 2, 0, 3, 0, 0, 63, 0])),
            bytes(int(bits[start : start + 8], 2) for start in range(0, len(bits), 8)),
            b"\xff\xd9",
        ]
    )


header = simplejpeg.decode_jpeg_header(jpeg(2))
print("1 x 2:", header)
assert header == (32, 8, "YCbCr", "440")
data = jpeg(4)
pixels = simplejpeg.decode_jpeg(data, "RGB")
same = np.array_equal(pixels, np.asarray(Image.open(io.BytesIO(data))))
try:
    raise SystemExit(f"simplejpeg has changed: {simplejpeg.decode_jpeg_header(data)}")
except KeyError as error:
    print(f"1 x 4: {error!r}, decode_jpeg: {pixels.shape}, the same pixels as Pillow's: {same}")
    assert same
PYTHON
