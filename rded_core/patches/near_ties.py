"""Scores of a fast, rounded pass that must be recomputed so that the selection is that of the exact pass.

Rounding moves the observer's logits, so it moves the log-odds of the true class by about the same amount everywhere,
but hardly moves the score of a patch that the observer is sure of. Nearness is therefore measured in log-odds; if
scores are so close to 0 that float32 may make them equal, the distance of the scores themselves counts too.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

SCORE_ROUNDING_NATS = 2e-6
"""Scores closer than this may be equal in float32, in which case the draw order decides."""


def log_odds(scores: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Converts realism scores (log-probabilities of the true class, nats) to log-odds; finite for a score of 0."""
    scores = scores.double().clamp(max=-1e-12)
    return scores - torch.log(-torch.expm1(scores))


def near_best(scores: Float[Tensor, "n m"], margin: float) -> Bool[Tensor, "n m"]:
    """Marks the crops that may be their candidate's best if two log-odds may be off by `margin` together."""
    return _reaches(scores, scores.amax(dim=1, keepdim=True), margin)


def may_be_chosen(scores: Float[Tensor, "n m"], num_chosen: int, margin: float) -> Bool[Tensor, "n m"]:
    """Marks the crops that may be their candidate's best, of candidates that may be among the best `num_chosen`."""
    best = scores.amax(dim=1, keepdim=True)
    cut = best.flatten().topk(min(num_chosen, len(best))).values[-1]
    return near_best(scores, margin) & _reaches(best, cut, margin)


def largest_error(fast: Float[Tensor, "p"], exact: Float[Tensor, "p"]) -> float:
    """Returns the largest difference of two passes in log-odds; pairs that may be equal in float32 count as equal."""
    error = (log_odds(fast) - log_odds(exact)).abs() * ((fast - exact).abs() > SCORE_ROUNDING_NATS)
    return float(error.max()) if len(error) else 0.0


def _reaches(scores: Tensor, bound: Tensor, margin: float) -> Tensor:
    return (log_odds(scores) >= log_odds(bound) - margin) | (scores >= bound - SCORE_ROUNDING_NATS)
