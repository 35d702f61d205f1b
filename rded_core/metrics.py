"""Accuracy, pure."""

from jaxtyping import Float, Int
from torch import Tensor


def count_correct(logits: Float[Tensor, "b k"], targets: Int[Tensor, "b"], *, top: int) -> int:
    """Counts rows whose target is among the `top` largest logits; `top` above k counts every row."""
    ranked = logits.topk(min(top, logits.shape[1]), dim=1).indices
    return int((ranked == targets[:, None]).any(dim=1).sum().item())
