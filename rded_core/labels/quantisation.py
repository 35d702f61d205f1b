"""Rounding of labels: to float16, and to a few evenly spaced numbers per row."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

NOT_FLOAT16 = "the teacher returned logits that float16 cannot represent; check its weights and preprocessing"


def quantise_rows(
    values: Float[Tensor, "b v"], bits: int
) -> tuple[UInt8[Tensor, "b v"], Float[Tensor, "b"], Float[Tensor, "b"]]:
    """Returns codes with the float16 scale and offset of each row, chosen so that every value lies within their range.

    Raises:
        ValueError: a value is not finite, or too large for float16.
    """
    values = values.float()
    if values.shape[1] == 0 or len(values) == 0:
        empty = torch.zeros(len(values), dtype=torch.float16)
        return values.to(torch.uint8), empty, empty
    least, greatest = values.amin(dim=1), values.amax(dim=1)
    offset = _round_half(least, down=True)
    scale = _round_half((greatest - offset.float()) / (2**bits - 1), down=False)
    step = scale.float().clamp(min=torch.finfo(torch.float32).tiny)
    codes = ((values - offset.float()[:, None]) / step[:, None]).round().clamp(0, 2**bits - 1)
    return codes.to(torch.uint8), scale, offset


def restore_rows(
    codes: UInt8[Tensor, "b v"], scale: Float[Tensor, "b"], offset: Float[Tensor, "b"]
) -> Float[Tensor, "b v"]:
    """Returns offset + scale · code of each row, as float32."""
    return offset.float()[:, None] + scale.float()[:, None] * codes


def pack_halves(codes: UInt8[Tensor, "b v"]) -> UInt8[Tensor, "b w"]:
    """Packs two codes below 16 into each byte, the first in the low half; an odd row ends with an empty high half."""
    even = functional.pad(codes, (0, codes.shape[1] % 2))
    return even[:, 0::2] | (even[:, 1::2] << 4)


def unpack_halves(packed: UInt8[Tensor, "b w"], count: int) -> UInt8[Tensor, "b v"]:
    """Undoes `pack_halves` for rows of `count` codes."""
    return torch.stack([packed & 15, packed >> 4], dim=2).flatten(1)[:, :count]


def round_to_half(values: Tensor) -> Tensor:
    """Rounds to float16 (relative error <= 2^-11, absolute error <= 2^-25 below 2^-14)."""
    encoded = values.to(torch.float16)
    if not torch.isfinite(encoded).all():
        raise ValueError(NOT_FLOAT16)
    return encoded


def _round_half(values: Tensor, *, down: bool) -> Tensor:
    """Rounds to the nearest float16 number that is not above (with `down`) or not below the value."""
    nearest = round_to_half(values)
    beyond = nearest.float() > values if down else nearest.float() < values
    towards = torch.full_like(nearest, -torch.inf if down else torch.inf)
    return round_to_half(torch.where(beyond, _next_half(nearest, towards), nearest))


def _next_half(values: Tensor, towards: Tensor) -> Tensor:
    """Returns the next float16 number towards minus or plus infinity (torch has no nextafter for float16)."""
    bits = values.view(torch.int16).int()
    order = torch.where(bits < 0, -(bits & 0x7FFF), bits)  # float16 numbers in order, both zeros at 0
    order = order + torch.where(towards > 0, 1, -1)
    back = torch.where(order < 0, -order | 0x8000, order)
    return torch.where(back >= 2**15, back - 2**16, back).to(torch.int16).view(torch.float16)
