"""Scores of one class, batch by batch: a fast pass over all patches, an exact one over those that decide.

What the exact pass may need is kept where it lies until the class is complete: a candidate's best patch and those near
it, a fifth of all with five crops, so that memory grows with one class's candidates and not with the classes.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from rded_core.patches.near_ties import largest_error, may_be_chosen, near_best
from rded_core.patches.realism import realism_scores

Network = Callable[[Tensor], Tensor]
"""Normalised patches to logits."""

MARGIN = 0.25
"""Log-odds that two fast scores may be off by together before anything is measured; doubled as often as needed."""

KEPT_MARGIN = 1.0
"""Log-odds within which patches are kept: the most that MARGIN can grow to."""


class ClassScores:
    """Collects one class.

    Args:
        class_index: the class's output of the network.
        fast: the rounded network, of any number of patches.
        exact: the same in float32, of `exact_batch` patches at a time; None where `fast` is exact.
        exact_batch: patches of one exact pass; the last is filled up.
        num_chosen: patches that will be selected.
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
        """Scores a batch of normalised patches, of which the first `count` candidates are real and the rest filling."""
        with torch.inference_mode():
            scores = self._score(self.fast, patches.flatten(0, 1)).view(patches.shape[:2])[:count]
            self.scores.append(scores)
            if self.exact is not None:
                self.kept.append(patches[:count][near_best(scores, KEPT_MARGIN)])

    def finish(self) -> Float[Tensor, "n m"] | None:
        """Returns all scores: exact where the selection depends on it, rounded elsewhere.

        None where the fast pass was too far off for what was kept; the class must then be scored exactly.
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
            known = ~exact.isnan()
            error = largest_error(fast[known], exact[known])
            if 2.0 * error <= margin:
                return torch.where(known, exact, fast)
            margin = max(2.0 * margin, 3.0 * error)
        return None

    def _score_kept(self, patches: Tensor) -> Tensor:
        assert self.exact is not None
        parts: list[Tensor] = []
        for part in patches.split(self.exact_batch) if len(patches) else ():
            filling = part[:1].expand(self.exact_batch - len(part), -1, -1, -1)
            parts.append(self._score(self.exact, torch.cat([part, filling]))[: len(part)])
        return torch.cat(parts) if parts else patches.new_empty(0)

    def _score(self, network: Network, patches: Tensor) -> Tensor:
        classes = torch.full((len(patches),), self.class_index, device=patches.device)
        return realism_scores(network(patches), classes)
