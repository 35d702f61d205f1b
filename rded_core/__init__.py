"""Kernels of RDED dataset distillation: tensors in, tensors out.

Axis legend, used by every shape in this package:

    b  batch (views, images)             k  classes of the head
    n  candidates or images of a class   m  crops of one candidate (``num_crops``)
    p  patches                           f  factor (patches per side of a distilled image)
    c  colour channels, always RGB       h, w  rows and columns in pixels
    s  side of a distilled image in pixels (``size``)

Boxes are integer tensors ``[..., 4]`` holding ``top, left, height, width`` in pixels.
Images are uint8 RGB 0..255 unless a docstring says float 0..1 or normalised.

Source: Sun et al., "On the Diversity and Realism of Distilled Dataset: An Efficient Dataset Distillation
Paradigm", CVPR 2024 (arXiv 2312.03526). Deliberate differences are named where they are made.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rded_core.io.dataset.distilled import DistilledDataset
    from rded_core.networks.zoo import build_network
    from rded_core.training.losses import kl_at_temperature

__all__ = ["ALGORITHM_VERSION", "DistilledDataset", "__version__", "build_network", "kl_at_temperature"]

__version__ = "0.1.0"

ALGORITHM_VERSION = 5
"""Bumped whenever the same config would give different numbers; recorded in every run and every manifest record."""

_HOMES = {
    "DistilledDataset": "rded_core.io.dataset.distilled",
    "build_network": "rded_core.networks.zoo",
    "kl_at_temperature": "rded_core.training.losses",
}
"""Modules of the public names; each is imported on first use, so that ``import rded_core`` does not load PyTorch."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
