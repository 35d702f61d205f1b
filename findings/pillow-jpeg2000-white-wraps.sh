#!/usr/bin/env bash
# Pillow 13.0.0: colour JPEG 2000 of more than 8 bits a channel has black where it should be white.
#
# Valid input: three pixels of RGB, 16, 12 or 10 bits a channel, lossless, written by imagecodecs 2026.3.6 (OpenJPEG),
# which also reads them back exactly.
# Expected: 65535 of 16 bits (4095 of 12, 1023 of 10) is 255 in Pillow's mode RGB.
# Seen: 0. All numbers that round up to 256 wrap: 65408 to 65535 of 16 bits, 4088 to 4095 of 12, 1022 and 1023 of 10.
# Grey of 16 bits (mode I;16) is right.
#
# Output seen:
#   16 bits: [0, 32768, 65407, 65408, 65535] -> [0, 128, 255, 0, 0]
#   12 bits: [0, 2048, 4087, 4088, 4095] -> [0, 128, 255, 0, 0]
#   10 bits: [0, 512, 1021, 1022, 1023] -> [0, 128, 255, 0, 0]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 imagecodecs==2026.3.6 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import io

import imagecodecs
import numpy as np
from PIL import Image

for bits in (16, 12, 10):
    white = 2**bits - 1
    half = 2 ** (bits - 8) // 2
    numbers = [0, 2 ** (bits - 1), white - half, white - half + 1, white]
    pixels = np.repeat(np.array([numbers], dtype="u2")[..., None], 3, axis=-1)
    data = imagecodecs.jpeg2k_encode(pixels, bitspersample=bits, codecformat="jp2", reversible=True)
    assert np.array_equal(imagecodecs.jpeg2k_decode(data), pixels)
    image = Image.open(io.BytesIO(data))
    assert image.mode == "RGB"
    found = np.asarray(image)[0, :, 0].tolist()
    print(f"{bits} bits: {numbers} -> {found}")
    assert found == [0, 128, 255, 0, 0], "Pillow has changed"
PYTHON
