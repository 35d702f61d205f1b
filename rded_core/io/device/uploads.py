"""Copies tensors to a device."""

import logging
from functools import partial

import torch
from torch import Tensor

from rded_core.io.device.memory import Full, attempt, release
from rded_core.labels.views import Views

logger = logging.getLogger(__name__)

KEPT_BYTES = 4 * 2**30
"""Image sets up to this size are copied to the device once; larger sets stay in memory and go batch by batch."""


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """Copies a tensor to a device; to CUDA from pinned memory, without waiting for the copy."""
    if device.type != "cuda" or tensor.device.type == "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def upload_views(views: Views, device: torch.device) -> Views:
    """Copies the parameters of views to a device."""
    return Views(*(upload(getattr(views, name), device) for name in Views.__slots__))


def keep_on_device(images: Tensor, device: torch.device) -> Tensor:
    """Returns a whole set of images on a device if it is small enough to stay, and fits; else returns it unchanged."""
    if images.nbytes > KEPT_BYTES:
        return images
    kept = attempt(partial(images.to, device))
    if not isinstance(kept, Full):
        return kept
    release(device)
    logger.warning("the memory of %s is full%s; uploading images batch by batch", device, kept.reason)
    return images


def take_rows(images: Tensor, rows: Tensor, device: torch.device) -> Tensor:
    """Returns some of the images on a device, whether or not they are kept there."""
    if images.device.type != device.type:
        return upload(images[rows], device)
    return images[upload(rows, device)]
