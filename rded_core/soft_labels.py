"""Soft labels: which images make up which batch, and how logits are stored."""

import torch
from jaxtyping import Float, Float16, Int
from torch import Tensor


def plan_batches(num_images: int, batch_size: int, generator: torch.Generator) -> list[Int[Tensor, "_b"]]:
    """Shuffles the images and cuts them into the batches of one epoch; the last may be smaller.

    A single image left over joins the batch before it: batch statistics of one image are undefined.
    """
    batches = list(torch.randperm(num_images, generator=generator).split(batch_size))
    if batch_size > 1 and len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def encode_logits(logits: Float[Tensor, "b k"]) -> Float16[Tensor, "b k"]:
    """Rounds logits to float16 (relative error <= 2^-11, absolute error <= 2^-25 below 2^-14).

    Raises:
        ValueError: a logit is no finite float16 number.
    """
    encoded = logits.to(torch.float16)
    if not torch.isfinite(encoded).all():
        raise ValueError("the teacher gave logits that float16 cannot hold; check its weights and preprocessing")
    return encoded


def decode_logits(encoded: Float16[Tensor, "b k"]) -> Float[Tensor, "b k"]:
    """Returns stored logits as float32, exactly."""
    return encoded.to(torch.float32)
