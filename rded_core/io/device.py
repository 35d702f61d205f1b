"""Devices by name."""

import os

import torch
from torch import Tensor

from rded_core.errors import InputError
from rded_core.views import Views

KEPT_BYTES = 4 * 2**30
"""Images up to this size are put on the device whole, once; larger sets stay in memory and go there batch by batch."""


def resolve_device(name: str) -> torch.device:
    """Turns ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps`` into a device that is there.

    ``auto`` takes CUDA, then MPS, then the CPU. TF32 is switched off: scores are float32 everywhere.

    Raises:
        InputError: the device is unknown or absent.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        first_line = (str(error).splitlines() or ["not available"])[0]
        raise InputError(f"device {name!r} cannot be used here ({first_line}); try --device auto or cpu") from error
    return device


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """Copies a tensor to a device; to CUDA from pinned memory, without waiting for the copy."""
    if device.type != "cuda" or tensor.device.type == "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def upload_views(views: Views, device: torch.device) -> Views:
    """Copies the parameters of views to a device."""
    return Views(*(upload(getattr(views, name), device) for name in Views.__slots__))


def keep_on_device(images: Tensor, device: torch.device) -> Tensor:
    """Puts a whole set of images on a device where it is small enough to stay; else returns it as it is."""
    return images.to(device) if images.nbytes <= KEPT_BYTES else images


def take_rows(images: Tensor, rows: Tensor, device: torch.device) -> Tensor:
    """Returns some of the images on a device, whether they are kept there or not."""
    if images.device != device:
        return upload(images[rows], device)
    return images[upload(rows, device)]


def num_available_cores() -> int:
    """Returns the number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
