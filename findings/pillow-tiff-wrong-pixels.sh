#!/usr/bin/env bash
# Pillow 13.0.0: three kinds of valid TIFF decode to wrong pixels without an error.
#
# Valid input, written by tifffile 2026.3.3, which also reads it back exactly:
# 1. RGB of 16 bits in separate planes (PlanarConfiguration 2), not compressed. Expected: the upper byte of each number,
#    as from the same image in one plane or compressed. Seen: each plane is read as bytes, so that the bytes of half of
#    the plane become its pixels.
# 2. Big-endian, compressed, 32-bit floats or signed 16 or 32 bits. Expected: the numbers. Seen: their bytes swapped
#    (libtiff has swapped them already).
# 3. Grey of 16 bits in which 0 is white (PhotometricInterpretation 0). Expected: inverted, as 8 bits are. Seen: a
#    negative.
#
# Output seen:
#   planes of 16 bits: [1, 2, 3, 4] -> [0, 1, 0, 2]
#   the same, deflate: [1, 2, 3, 4] -> [1, 2, 3, 4]
#   big-endian floats, deflate: [1.0, 2.0] -> [4.600602988224807e-41, 8.96831017167883e-44]
#   big-endian int16, deflate: [1, 2] -> [256, 512]
#   big-endian int32, deflate: [1, 2] -> [16777216, 33554432]
#   0 is white, 8 bits: [0, 255] -> [255, 0]
#   0 is white, 16 bits: [0, 65535] -> [0, 65535]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 tifffile==2026.3.3 imagecodecs==2026.3.6 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import io

import numpy as np
import tifffile
from PIL import Image


def pillows(numbers: np.ndarray, **options: object) -> np.ndarray:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, numbers, **options)
    assert np.array_equal(tifffile.imread(io.BytesIO(buffer.getvalue())), numbers)
    return np.asarray(Image.open(io.BytesIO(buffer.getvalue())))


def check(what: str, numbers: list, found: np.ndarray, seen: list) -> None:
    print(f"{what}: {numbers} -> {found.tolist()}")
    assert found.tolist() == seen, "Pillow has changed"


planes = np.repeat((np.arange(1, 5, dtype="u2") << 8)[None, None], 3, axis=0)
rgb = {"photometric": "rgb", "planarconfig": "separate"}
check("planes of 16 bits", [1, 2, 3, 4], pillows(planes, **rgb)[0, :, 0], [0, 1, 0, 2])
check("the same, deflate", [1, 2, 3, 4], pillows(planes, **rgb, compression="deflate")[0, :, 0], [1, 2, 3, 4])
grey = {"photometric": "minisblack", "byteorder": ">", "compression": "deflate"}
for name, kind, seen in (
    ("floats", "f4", [4.600602988224807e-41, 8.96831017167883e-44]),
    ("int16", "i2", [256, 512]),
    ("int32", "i4", [16777216, 33554432]),
):
    numbers = np.array([[1, 2]], dtype=kind)
    check(f"big-endian {name}, deflate", numbers[0].tolist(), pillows(numbers, **grey)[0], seen)
for bits, seen in ((8, [255, 0]), (16, [0, 65535])):
    numbers = np.array([[0, 2**bits - 1]], dtype=f"u{bits // 8}")
    check(f"0 is white, {bits} bits", numbers[0].tolist(), pillows(numbers, photometric="miniswhite")[0], seen)
PYTHON
