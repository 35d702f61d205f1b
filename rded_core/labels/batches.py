"""Batches of views to label: the images of each batch, and the batches that share a forward pass."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional


def plan_batches(num_images: int, batch_size: int, generator: torch.Generator) -> list[Int[Tensor, "_b"]]:
    """Shuffles the images and cuts them into the batches of one epoch; the last may be smaller.

    A single leftover image joins the batch before it: batch statistics of one image are undefined.
    """
    batches = list(torch.randperm(num_images, generator=generator).split(batch_size))
    if batch_size > 1 and len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def rows_per_pass(batch_size: int, limit: int) -> int:
    """Returns the rows of every forward pass for recorded batches of `batch_size`: the same for a whole run.

    As many whole batches as fit in `limit` rows; a batch above `limit` is cut into passes of more than half of `limit`,
    of the size that leaves the fewest rows empty.
    """
    if batch_size <= limit:
        return limit // batch_size * batch_size
    return min(range(limit // 2 + 1, limit + 1), key=lambda rows: (-batch_size % rows, -rows))


def pack_batches(sizes: Sequence[int], limit: int) -> list[range]:
    """Groups consecutive batches, as many per group as fit in `limit` rows; a larger batch is its own group."""
    groups: list[range] = []
    num_rows = 0
    for number, size in enumerate(sizes):
        if groups and num_rows + size <= limit:
            groups[-1] = range(groups[-1].start, number + 1)
            num_rows += size
        else:
            groups.append(range(number, number + 1))
            num_rows = size
    return groups


def classify_in_passes(
    network: Callable[[Tensor], Tensor], views: Float[Tensor, "b 3 s s"], rows: int
) -> Float[Tensor, "b k"]:
    """Returns a network's logits, from forward passes of exactly `rows` rows; the last is padded with zeros.

    Compiled networks and CUDA graphs need a single shape; results are copied, since graphs reuse their output.
    """
    logits: list[Tensor] = []
    for part in views.split(rows):
        padded = functional.pad(part, (0, 0, 0, 0, 0, 0, 0, rows - len(part))) if len(part) < rows else part
        logits.append(network(padded)[: len(part)].clone())
    return torch.cat(logits)
