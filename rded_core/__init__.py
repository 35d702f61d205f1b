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

__version__ = "0.1.0"

ALGORITHM_VERSION = 5
"""Bumped whenever the same config would give other numbers; recorded in every run and every manifest record."""
