"""A seeded workload: class folders of photo-like JPEGs with ImageNet's size statistics, and an observer for them."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from rded_core.io.networks.weights import save_network
from rded_core.networks import build_network
from rded_core.networks.preprocessing import Preprocessing
from rded_core.seeds import seeded_init

PHOTO_PX = (375, 500)
"""Height and width; an ImageNet training image of about this size has 110 KB."""

GRAIN = {500: 16.0, 32: 4.0}
"""Standard deviation of the finest detail by width: quality 90 then gives about 110 KB at 500 px, 1.3 KB at 32."""


def write_workload(folder: Path, *, num_classes: int, per_class: int, px: tuple[int, int], seed: int = 0) -> Path:
    """Writes ``folder/cNNNN/NNNNN.jpg``, unless they exist, and returns `folder`."""
    for index in range(num_classes):
        write_class(folder, index, per_class=per_class, px=px, seed=seed)
    return folder


def write_class(folder: Path, index: int, *, per_class: int, px: tuple[int, int], seed: int = 0) -> None:
    """Writes the images of one class that do not exist yet."""
    place = folder / f"c{index:04d}"
    place.mkdir(parents=True, exist_ok=True)
    for number in range(per_class):
        path = place / f"{number:05d}.jpg"
        if not path.exists():
            path.write_bytes(photo_like(np.random.default_rng([seed, index, number]), *px))


def photo_like(rng: np.random.Generator, height: int, width: int) -> bytes:
    """Returns one random JPEG with detail at every scale, weaker the finer it is, as in photographs."""
    pixels = np.full((height, width, 3), 128.0)
    for octave in range(1, 8):
        cells = (2**octave * height // width + 2, 2**octave + 2, 3)
        coarse = Image.fromarray(rng.integers(0, 256, cells).astype(np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float64)
        pixels += (smooth - 128.0) * 0.75**octave
    pixels += rng.normal(0.0, GRAIN.get(width, 8.0), (height, width, 1))
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, format="JPEG", quality=90)
    return buffer.getvalue()


def write_observer(path: Path, *, arch: str, num_classes: int, size: int) -> Path:
    """Writes an untrained observer with BatchNorm statistics, as fast as a trained one and with finite outputs."""
    if not path.exists():
        with seeded_init(0):
            network = build_network(arch, num_classes=num_classes, size=size).train()
            with torch.no_grad():
                network(torch.randn(8, 3, size, size))
        facts = {"arch": arch, "classes": [f"c{index:04d}" for index in range(num_classes)]}
        save_network(network, path, preprocessing=Preprocessing(size=size), facts=facts)
    return path
