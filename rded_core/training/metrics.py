"""Accuracy from logits, and the accuracy of guessing."""

from jaxtyping import Bool, Float, Int
from torch import Tensor


def correct_rows(logits: Float[Tensor, "b k"], targets: Int[Tensor, "b"], *, top: int) -> Bool[Tensor, "b"]:
    """Returns for each row whether its target is among the `top` largest logits; always True for `top` above k."""
    ranked = logits.topk(min(top, logits.shape[1]), dim=1).indices
    return (ranked == targets[:, None]).any(dim=1)


def count_correct(logits: Float[Tensor, "b k"], targets: Int[Tensor, "b"], *, top: int) -> int:
    """Counts rows whose target is among the `top` largest logits; `top` above k counts every row."""
    return int(correct_rows(logits, targets, top=top).sum().item())


def chance_bound(num_classes: int, num_images: int) -> float:
    """Returns the accuracy that guessing stays below in all but one case in a thousand: mean + 3 standard errors.

    With so few images that even a perfect result would not exceed it, returns the accuracy with one image wrong.
    """
    chance = 1.0 / num_classes
    bound = chance + 3.0 * (chance * (1.0 - chance) / num_images) ** 0.5
    return min(bound, (num_images - 1) / num_images)
