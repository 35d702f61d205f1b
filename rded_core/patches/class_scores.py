"""Scores of one class, batch by batch: a fast pass over all patches, an exact one over those that decide.

Patches that the exact pass may need stay on their device until the class is complete: each candidate's best patch and
those near it, a fifth of all with five crops. Memory grows with one class's candidates, not with the number of classes.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from rded_core.patches.near_ties import largest_error, may_be_chosen, near_best
from rded_core.patches.realism import realism_scores

Network = Callable[[Tensor], Tensor]
"""Maps normalised patches to logits."""

MARGIN = 0.25
"""Assumed error of two fast scores together, in log-odds, before any is measured; doubled as often as needed."""

KEPT_MARGIN = 1.0
"""Log-odds within which patches are kept; the largest margin that MARGIN can grow to."""


class ClassScores:
    """Collects the scores of one class.

    Args:
        class_index: the class's index in the network's output.
        fast: the rounded network, for any number of patches.
        exact: the same in float32, for `exact_batch` patches at a time; None if `fast` is exact.
        exact_batch: patches in one exact pass; the last pass is padded.
        num_chosen: number of patches that will be selected.
    """

    def __init__(
        self, class_index: int, fast: Network, exact: Network | None, *, exact_batch: int, num_chosen: int
    ) -> None:
        self.class_index = class_index
        self.fast, self.exact = fast, exact
        self.exact_batch, self.num_chosen = exact_batch, num_chosen
        self.scores: list[Tensor] = []
        self.kept: list[Tensor] = []

    def add(self, patches: Float[Tensor, "n m 3 h w"], count: int) -> None:
        """Scores a batch of normalised patches, of which the first `count` candidates are real and the rest padding."""
        with torch.inference_mode():
            scores = self._score(self.fast, patches.flatten(0, 1)).view(patches.shape[:2])[:count]
            self.scores.append(scores)
            if self.exact is not None:
                self.kept.append(patches[:count][near_best(scores, KEPT_MARGIN)])

    def finish(self) -> Float[Tensor, "n m"] | None:
        """Returns all scores: exact if the selection depends on them, rounded otherwise.

        None if the fast pass was too far off for the patches that were kept; the class must then be scored exactly.
        """
        scores = torch.cat(self.scores)
        if self.exact is None:
            return scores
        with torch.inference_mode():
            return self._settle(scores)

    def _settle(self, fast: Tensor) -> Tensor | None:
        kept, patches = near_best(fast, KEPT_MARGIN), torch.cat(self.kept)
        exact = torch.full_like(fast, float("nan"))
        margin = MARGIN if not fast.isnan().any() else float("inf")
        while margin <= KEPT_MARGIN:
            wanted = may_be_chosen(fast, self.num_chosen, margin)
            exact[wanted & exact.isnan()] = self._score_kept(patches[(wanted & exact.isnan())[kept]])
            is_exact = ~exact.isnan()
            error = largest_error(fast[is_exact], exact[is_exact])
            if 2.0 * error <= margin:
                return torch.where(is_exact, exact, fast)
            margin = max(2.0 * margin, 3.0 * error)
        return None

    def _score_kept(self, patches: Tensor) -> Tensor:
        assert self.exact is not None
        parts: list[Tensor] = []
        for part in patches.split(self.exact_batch) if len(patches) else ():
            padding = part[:1].expand(self.exact_batch - len(part), -1, -1, -1)
            parts.append(self._score(self.exact, torch.cat([part, padding]))[: len(part)])
        return torch.cat(parts) if parts else patches.new_empty(0)

    def _score(self, network: Network, patches: Tensor) -> Tensor:
        classes = torch.full((len(patches),), self.class_index, device=patches.device)
        return realism_scores(network(patches), classes)
