"""JPEGs decoded on a device: faster with few cores, but by a different decoder: pixels differ by a level or two."""

import logging

import torch
from jaxtyping import UInt8
from torch import Tensor

from rded_core.errors import InputError
from rded_core.io.formats.images import RejectedImage, decode_image, encode_image

logger = logging.getLogger(__name__)


def decode_jpegs(files: list[bytes], device: torch.device) -> list[UInt8[Tensor, "3 h w"] | RejectedImage]:
    """Decodes JPEGs on a device, in order; a file that it refuses is decoded on the CPU and logged.

    Returns:
        uint8 RGB on the device, or the reason why a file cannot be used.
    """
    try:
        return list(_decode(files, device))
    except torch.OutOfMemoryError:
        raise
    except Exception:  # for any error of the device, the CPU decides
        return [_decode_alone(data, device) for data in files]


def require_jpeg_decoder(device: torch.device) -> None:
    """Raises InputError if the device cannot decode JPEGs: not CUDA, or a torchvision built without the decoder."""
    if device.type != "cuda":
        raise InputError(f"decoder cuda needs --device cuda, got {device.type}; give --decoder cpu")
    sample = encode_image(torch.zeros(3, 16, 16, dtype=torch.uint8), "jpeg", 90)
    try:
        _decode([sample], device)
    except RuntimeError as error:
        first_line = (str(error).splitlines() or ["no reason given"])[0]
        raise InputError(f"torchvision cannot decode JPEGs on {device} ({first_line}); give --decoder cpu") from error


def _decode(files: list[bytes], device: torch.device) -> list[Tensor]:
    encoded = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in files]
    return decode_jpeg(encoded, device=device)


def decode_jpeg(encoded: list[Tensor], *, device: torch.device) -> list[Tensor]:
    """Decodes with torchvision, imported here: with it comes torch.compile, a second of every process's start."""
    from torchvision import io

    return list(io.decode_jpeg(encoded, mode=io.ImageReadMode.RGB, device=device))


def _decode_alone(data: bytes, device: torch.device) -> Tensor | RejectedImage:
    try:
        return _decode([data], device)[0]
    except torch.OutOfMemoryError:
        raise
    except Exception as refusal:
        try:
            image = decode_image(data)
        except RejectedImage as error:
            return error
        reason = (str(refusal).splitlines() or [type(refusal).__name__])[0]
        logger.warning("%s cannot decode a JPEG (%s); decoding it on the CPU", device, reason)
        return image.to(device)
