"""JPEGs decoded by a device: faster where cores are few, and another decoder, whose pixels differ by a level or two."""

import torch
from jaxtyping import UInt8
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from rded_core.io.images import RejectedImage, decode_image


def decode_jpegs(files: list[bytes], device: torch.device) -> list[UInt8[Tensor, "3 h w"] | RejectedImage]:
    """Decodes JPEGs on a device, in order; where it refuses one of them, all are decoded on the CPU.

    Returns:
        uint8 RGB on the device, or why a file cannot be used.
    """
    encoded = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in files]
    try:
        return list(decode_jpeg(encoded, mode=ImageReadMode.RGB, device=device))
    except RuntimeError:
        return [_decode_or_reject(data, device) for data in files]


def _decode_or_reject(data: bytes, device: torch.device) -> Tensor | RejectedImage:
    try:
        return decode_image(data).to(device)
    except RejectedImage as error:
        return error
