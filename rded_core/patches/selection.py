"""Selection of the best crop of each candidate, and of the best candidates of a class."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, slots=True)
class SelectedPatches:
    """The chosen patches of one class in rank order (rank 0 first).

    Attributes:
        candidates: position of the candidate in draw order.
        crops: position of the crop within its candidate.
        scores: realism score in nats, NaN if the selection does not score.
    """

    candidates: Int[Tensor, "p"]
    crops: Int[Tensor, "p"]
    scores: Float[Tensor, "p"]


def best_crops(scores: Float[Tensor, "n m"]) -> tuple[Int[Tensor, "n"], Float[Tensor, "n"]]:
    """Returns the position and score of each candidate's best crop; among equal scores the first drawn wins."""
    best = scores.argmax(dim=1)
    return best, scores.gather(1, best[:, None])[:, 0]


def select_patches(scores: Float[Tensor, "n m"], num_patches: int) -> SelectedPatches:
    """Ranks candidates by their best crop and keeps the best `num_patches`.

    Among equal scores the candidate drawn first ranks first. At most one patch per candidate is kept.

    Raises:
        ValueError: fewer candidates than patches, or a NaN score.

    Source: RDED algorithm 1, steps 3 to 5.
    """
    if len(scores) < num_patches:
        raise ValueError(f"num_patches must be <= the number of candidates, {len(scores)}, got {num_patches}")
    if torch.isnan(scores).any():
        raise ValueError("the observer returned a NaN score; check its weights and preprocessing")
    crops, best = best_crops(scores)
    order = torch.sort(best, descending=True, stable=True).indices[:num_patches]
    return SelectedPatches(candidates=order, crops=crops[order], scores=best[order])


def take_first_patches(num_candidates: int, num_patches: int) -> SelectedPatches:
    """Keeps the first crop of each of the first candidates drawn: for the controls, without scores.

    Raises:
        ValueError: fewer candidates than patches.
    """
    if num_candidates < num_patches:
        raise ValueError(f"num_patches must be <= the number of candidates, {num_candidates}, got {num_patches}")
    return SelectedPatches(
        candidates=torch.arange(num_patches),
        crops=torch.zeros(num_patches, dtype=torch.int64),
        scores=torch.full((num_patches,), float("nan")),
    )
