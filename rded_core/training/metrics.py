"""Accuracy, pure."""

from jaxtyping import Bool, Float, Int
from torch import Tensor


def correct_rows(logits: Float[Tensor, "b k"], targets: Int[Tensor, "b"], *, top: int) -> Bool[Tensor, "b"]:
    """Tells for each row whether its target is among the `top` largest logits; `top` above k takes every row."""
    ranked = logits.topk(min(top, logits.shape[1]), dim=1).indices
    return (ranked == targets[:, None]).any(dim=1)


def count_correct(logits: Float[Tensor, "b k"], targets: Int[Tensor, "b"], *, top: int) -> int:
    """Counts rows whose target is among the `top` largest logits; `top` above k counts every row."""
    return int(correct_rows(logits, targets, top=top).sum().item())


def chance_bound(num_classes: int, num_images: int) -> float:
    """Returns the accuracy that guessing stays below in all but one case of a thousand: mean + 3 standard errors.

    Where there are so few images that even all of them right would not reach it, one image less than all.
    """
    chance = 1.0 / num_classes
    bound = chance + 3.0 * (chance * (1.0 - chance) / num_images) ** 0.5
    return min(bound, (num_images - 1) / num_images)
