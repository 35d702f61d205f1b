"""Training augmentation of real images, for observers trained from scratch."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from rded_core.patches.crops import cut_patch, draw_crop_box, fit_centre

SMALL_IMAGE_PX = 64
"""Up to this size pad-and-crop is the standard (CIFAR); above it RandomResizedCrop (ImageNet)."""


def augment_image(
    image: UInt8[Tensor, "3 h w"], size: int, generator: torch.Generator, *, crop_scale_min: float, flip: bool
) -> Float[Tensor, "3 {size} {size}"]:
    """Draws one augmentation of a real image and applies it: float RGB 0..1.

    Sizes up to 64 px: centre fit, zero-pad by an eighth, random crop. Larger: RandomResizedCrop with scale
    (`crop_scale_min`, 1) and ratio (3/4, 4/3). Then a horizontal flip with probability 1/2 if `flip`.
    """
    if size <= SMALL_IMAGE_PX:
        view = _shift(fit_centre(image, size, resize_px=size), generator, pad_px=size // 8)
    else:
        height, width = image.shape[1:]
        box = draw_crop_box(height, width, generator, scale=(crop_scale_min, 1.0), ratio=(3 / 4, 4 / 3))
        view = cut_patch(image, torch.tensor(box), size, size)
    if flip and torch.rand(1, generator=generator).item() < 0.5:
        view = view.flip(-1)
    return view


def _shift(image: Float[Tensor, "3 h w"], generator: torch.Generator, *, pad_px: int) -> Float[Tensor, "3 h w"]:
    height, width = image.shape[1:]
    top, left = torch.randint(0, 2 * pad_px + 1, (2,), generator=generator).tolist()
    return functional.pad(image, (pad_px,) * 4)[:, top : top + height, left : left + width]
