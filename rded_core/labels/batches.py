"""Batches of views to label: which images make up which batch, and which batches share a forward pass."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional


def plan_batches(num_images: int, batch_size: int, generator: torch.Generator) -> list[Int[Tensor, "_b"]]:
    """Shuffles the images and cuts them into the batches of one epoch; the last may be smaller.

    A single image left over joins the batch before it: batch statistics of one image are undefined.
    """
    batches = list(torch.randperm(num_images, generator=generator).split(batch_size))
    if batch_size > 1 and len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def rows_per_pass(batch_size: int, limit: int) -> int:
    """Returns the rows of every forward pass for recorded batches of `batch_size`: one number for a whole run.

    As many whole batches as `limit` rows hold; a batch above `limit` is cut into passes of more than half of it, of the
    size that leaves fewest rows empty.
    """
    if batch_size <= limit:
        return limit // batch_size * batch_size
    return min(range(limit // 2 + 1, limit + 1), key=lambda rows: (-batch_size % rows, -rows))


def pack_batches(sizes: Sequence[int], limit: int) -> list[range]:
    """Groups consecutive batches, each group as many as stay within `limit` rows; a larger batch stands alone."""
    groups: list[range] = []
    held = 0
    for number, size in enumerate(sizes):
        if groups and held + size <= limit:
            groups[-1] = range(groups[-1].start, number + 1)
            held += size
        else:
            groups.append(range(number, number + 1))
            held = size
    return groups


def classify_in_passes(
    network: Callable[[Tensor], Tensor], shown: Float[Tensor, "b 3 s s"], rows: int
) -> Float[Tensor, "b k"]:
    """Returns a network's logits, in forward passes of exactly `rows` rows; empty rows of the last are zeros.

    One shape is what a compiled network or a CUDA graph asks for; results are copied, since graphs reuse their output.
    """
    logits: list[Tensor] = []
    for part in shown.split(rows):
        filled = functional.pad(part, (0, 0, 0, 0, 0, 0, 0, rows - len(part))) if len(part) < rows else part
        logits.append(network(filled)[: len(part)].clone())
    return torch.cat(logits)
