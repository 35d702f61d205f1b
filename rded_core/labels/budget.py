"""Choice of how to store labels: the loss of each way, and the way that loses least within a number of bytes."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, log

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from rded_core.errors import InputError

ROWS_AT_ONCE = 1024
"""Labels converted to float64 at a time."""


def divergence(labels: Float[Tensor, "b k"], stored: Float[Tensor, "b k"], *, temperature: float) -> Float[Tensor, "b"]:
    """Computes KL(label || stored label) between softmaxes of logits at `temperature`, in nats, row by row, >= 0.

    In float64, a block of rows at a time: the loss of fine codecs is smaller than float32's rounding.
    """

    def diverge(labels: Tensor, stored: Tensor) -> Tensor:
        before = functional.log_softmax(labels.double() / temperature, dim=1)
        after = functional.log_softmax(stored.double() / temperature, dim=1)
        return functional.kl_div(after, before, reduction="none", log_target=True).sum(dim=1).clamp(min=0.0)

    parts = zip(labels.split(ROWS_AT_ONCE), stored.split(ROWS_AT_ONCE), strict=True)
    return torch.cat([diverge(*part) for part in parts])


def signal(labels: Float[Tensor, "b k"], *, temperature: float) -> Float[Tensor, "b"]:
    """Computes KL(label || uniform) at `temperature`, in nats: all the information in a label."""
    return divergence(labels, torch.zeros_like(labels), temperature=temperature)


def spread_over_views(
    labels: Float[Tensor, "b k"], image: Int[Tensor, "b"], *, temperature: float
) -> Float[Tensor, ""]:
    """Computes how much the labels of one image differ between views: KL(label || their mean), in nats, averaged.

    Images with a single view among the rows are ignored; 0 if there are no others.
    """
    _, place, counts = torch.unique(image, return_inverse=True, return_counts=True)
    means = torch.zeros(len(counts), labels.shape[1], dtype=torch.float64)

    def parts() -> Iterator[tuple[Tensor, Tensor]]:
        for part, places in zip(labels.split(ROWS_AT_ONCE), place.split(ROWS_AT_ONCE), strict=True):
            yield functional.softmax(part.double() / temperature, dim=1), places

    for probs, places in parts():
        means.index_add_(0, places, probs / counts[places][:, None])
    # xlogy: a probability of 0 adds nothing, and its mean may be 0 too.
    differences = torch.cat(
        [(torch.xlogy(probs, probs) - torch.xlogy(probs, means[places])).sum(dim=1) for probs, places in parts()]
    )
    several = counts[place] > 1
    # The mean of n views is itself off by 1/n of the spread, so they show only (n - 1) / n of it.
    factor = (counts / (counts - 1))[place]
    return (differences * factor)[several].mean().clamp(min=0.0) if several.any() else differences.new_zeros(())


@dataclass(frozen=True, slots=True)
class LabelChoice:
    """One way to store labels.

    Attributes:
        codec: name of the codec.
        epochs: recorded epochs.
        num_bytes: estimated size of all label tables.
        codec_loss: divergence caused by rounding, in nats.
        reuse_loss: divergence caused by fewer views, in nats.
    """

    codec: str
    epochs: int
    num_bytes: int
    codec_loss: float
    reuse_loss: float

    @property
    def loss(self) -> float:
        """Sum of both losses, which ranks the ways to store labels."""
        return self.codec_loss + self.reuse_loss


@dataclass(frozen=True, slots=True)
class CodecMeasure:
    """Size and loss of a codec, measured on a sample.

    Attributes:
        codec: name of the codec.
        fixed_bytes: bytes needed once.
        epoch_bytes: bytes per epoch.
        loss: mean divergence in nats.
        file_bytes: bytes per file of `epochs_per_file` epochs.
        epochs_per_file: epochs in each file but the last.
    """

    codec: str
    fixed_bytes: int
    epoch_bytes: float
    loss: float
    file_bytes: float = 0.0
    epochs_per_file: int = 10

    def num_bytes(self, epochs: int) -> int:
        """Estimates the bytes of `epochs` epochs."""
        files = ceil(epochs / self.epochs_per_file)
        return self.fixed_bytes + round(self.file_bytes * files + self.epoch_bytes * epochs)


def reuse_loss(spread: float, *, epochs: int, wanted: int) -> float:
    """Returns how far an image's mean label over `epochs` views is from that over `wanted` views, in nats.

    The mean of n independent views is off by about 1/n of their spread; reused views add nothing.
    """
    return spread * max(1.0 / epochs - 1.0 / wanted, 0.0)


def list_choices(measures: Sequence[CodecMeasure], *, spread: float, wanted: int, budget: int) -> list[LabelChoice]:
    """Lists ways to store labels: each codec with all wanted epochs, halves of them, and as many as the budget allows.

    Sorted by codec in the given order, then by decreasing epochs.
    """
    choices: list[LabelChoice] = []
    for measure in measures:
        room = bisect_right(range(1, wanted + 1), budget, key=measure.num_bytes)
        halves = [wanted >> shift for shift in range(int(log(wanted, 2)) + 1) if wanted >> shift >= 1]
        for epochs in sorted({*halves[:6], max(room, 1)}, reverse=True):
            num_bytes = measure.num_bytes(epochs)
            reuse = reuse_loss(spread, epochs=epochs, wanted=wanted)
            choices.append(LabelChoice(measure.codec, epochs, num_bytes, measure.loss, reuse))
    return choices


def best_choice(choices: Sequence[LabelChoice], budget: int) -> LabelChoice:
    """Returns the choice within the budget that loses least; among equals the smaller, then the first.

    Raises:
        InputError: no choice fits.
    """
    fitting = [choice for choice in choices if choice.num_bytes <= budget]
    if not fitting:
        smallest = min(choice.num_bytes for choice in choices)
        raise InputError(
            f"a label budget of {budget} bytes is too small: one epoch takes at least {smallest}; raise the budget"
        )
    return min(fitting, key=lambda choice: (choice.loss, choice.num_bytes))
