"""Statistics of labels: how certain they are, and whether they agree with the classes that their views show."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional


def entropy(labels: Float[Tensor, "b k"], *, temperature: float) -> Float[Tensor, "b"]:
    """Computes the entropy of softmaxes of logits at `temperature`, in nats: 0 if certain, ln k if uniform."""
    logs = functional.log_softmax(labels.double() / temperature, dim=1)
    return -(logs.exp() * logs).sum(dim=1)


def shown_class(own: Int[Tensor, "b"], partner: Int[Tensor, "b"], share: Float[Tensor, "b"]) -> Int[Tensor, "b"]:
    """Returns the class that fills most of each view: the partner's if its share is above one half."""
    return torch.where(share > 0.5, partner, own)


@dataclass(frozen=True, slots=True)
class ClassSums:
    """Sums over the views that show each class; sums of different views can be added.

    Attributes:
        views: number of views.
        sharp: sum of the entropies at temperature 1, in nats.
        soft: sum of the entropies at the students' temperature, in nats.
        agree: number of views whose largest logit is the class shown.
    """

    views: Float[Tensor, "k"]
    sharp: Float[Tensor, "k"]
    soft: Float[Tensor, "k"]
    agree: Float[Tensor, "k"]

    def __add__(self, other: "ClassSums") -> "ClassSums":
        """Adds the sums of other views."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in ClassSums.__slots__)
        return ClassSums(*(mine + theirs for mine, theirs in pairs))


def sum_by_class(labels: Float[Tensor, "b k"], shown: Int[Tensor, "b"], *, temperature: float) -> ClassSums:
    """Sums statistics of labels by the class that their views show."""
    values = (
        torch.ones(len(labels), dtype=torch.float64),
        entropy(labels, temperature=1.0),
        entropy(labels, temperature=temperature),
        (labels.argmax(dim=1) == shown).double(),
    )
    return ClassSums(*(torch.zeros(labels.shape[1]).double().index_add_(0, shown, value) for value in values))
