"""Patches of many candidates in two matrix products: for devices that multiply fast but start kernels slowly.

The same patches as `crops.cut_patches`, within 1e-6: resizing with antialiasing is linear along each side, so cutting
and resizing a box is one banded matrix over the rows of the whole image and another over its columns.
"""

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor


def cut_patch_batches(
    images: UInt8[Tensor, "b h w 3"], boxes: Int[Tensor, "b m 4"], patch_px: int
) -> Float[Tensor, "b m 3 {patch_px} {patch_px}"]:
    """Cuts and resizes every box of every image to `patch_px` squared: float RGB 0..1.

    Args:
        images: RGB 0..255, channels last, as codecs write them; pixels outside all boxes are ignored, so images of
            different sizes may share a batch, each in the upper left corner.
        boxes: top, left, height, width in pixels, inside the image.
        patch_px: side of a patch.

    Source: torch's bilinear `interpolate` with antialiasing: a triangle two pixels of the coarser grid wide.
    """
    num_images, height, width, _ = images.shape
    num_crops = boxes.shape[1]
    down = resize_weights(boxes[..., 0], boxes[..., 2], patch_px, height)
    across = resize_weights(boxes[..., 1], boxes[..., 3], patch_px, width)
    pixels = images.to(torch.float32).view(num_images, height, width * 3)
    rows = torch.bmm(down.view(num_images, num_crops * patch_px, height), pixels)
    rows = rows.view(num_images, num_crops, patch_px, width, 3).permute(0, 1, 4, 2, 3)
    return (rows.flatten(2, 3) @ across.mT).unflatten(2, (3, patch_px)) / 255.0


def resize_weights(
    starts: Int[Tensor, "b m"], lengths: Int[Tensor, "b m"], patch_px: int, side: int
) -> Float[Tensor, "b m {patch_px} {side}"]:
    """Returns the weight of each position of a side in each position of a patch; rows sum to one.

    Positions are rounded as in torch: to float32, and counted from the start of the box.
    """
    lengths = lengths.to(torch.float32)[..., None, None]
    scale = lengths / patch_px
    centres = scale * (torch.arange(patch_px, dtype=torch.float32, device=starts.device)[:, None] + 0.5)
    positions = (torch.arange(side, device=starts.device) - starts[..., None, None]).to(torch.float32)
    distances = (positions - centres + 0.5) / scale.clamp(min=1.0)
    weights = (1.0 - distances.abs()).clamp(min=0.0)
    weights = weights * ((positions >= 0) & (positions < lengths))
    return weights / weights.sum(dim=-1, keepdim=True)
