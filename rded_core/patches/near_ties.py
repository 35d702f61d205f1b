"""Which scores of a fast, rounded pass must be computed again so that the selection is that of the exact pass.

Rounding moves the observer's logits, so it moves the log-odds of the true class by about the same amount everywhere,
while it moves the score of a sure patch by next to nothing. Nearness is therefore measured in log-odds; where the score
itself is so close to 0 that float32 may call two of them equal, the scores' own distance counts too.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

SCORE_ROUNDING_NATS = 2e-6
"""Scores closer than this may be equal in float32, where the order of drawing decides."""


def log_odds(scores: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Turns realism scores (log-probabilities of the true class, nats) into log-odds; finite for a score of 0."""
    scores = scores.double().clamp(max=-1e-12)
    return scores - torch.log(-torch.expm1(scores))


def near_best(scores: Float[Tensor, "n m"], margin: float) -> Bool[Tensor, "n m"]:
    """Marks the crops that may be their candidate's best, where two log-odds may be off by `margin` together."""
    return _reaches(scores, scores.amax(dim=1, keepdim=True), margin)


def may_be_chosen(scores: Float[Tensor, "n m"], num_chosen: int, margin: float) -> Bool[Tensor, "n m"]:
    """Marks the crops that may be their candidate's best, of candidates that may be among the best `num_chosen`."""
    best = scores.amax(dim=1, keepdim=True)
    cut = best.flatten().topk(min(num_chosen, len(best))).values[-1]
    return near_best(scores, margin) & _reaches(best, cut, margin)


def largest_error(fast: Float[Tensor, "p"], exact: Float[Tensor, "p"]) -> float:
    """Returns the largest distance of two passes in log-odds; pairs that float32 may call equal count as equal."""
    apart = (log_odds(fast) - log_odds(exact)).abs() * ((fast - exact).abs() > SCORE_ROUNDING_NATS)
    return float(apart.max()) if len(apart) else 0.0


def _reaches(scores: Tensor, bound: Tensor, margin: float) -> Tensor:
    return (log_odds(scores) >= log_odds(bound) - margin) | (scores >= bound - SCORE_ROUNDING_NATS)
