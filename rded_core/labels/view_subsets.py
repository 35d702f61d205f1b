"""Subsets of an epoch's views, regardless of the batches they were recorded in."""

import torch
from jaxtyping import Int
from torch import Tensor

from rded_core.labels.views import Views, partner_share


def choose_views(views: Views, chosen: Int[Tensor, "b"], size: int) -> tuple[Int[Tensor, "n"], Views, Int[Tensor, "b"]]:
    """Returns the views to compute for some rows of `views`: each row once, and each partner that is visible once.

    The cost grows with the rows chosen, not with the epoch.

    Args:
        views: views whose partners are rows of the same views.
        chosen: rows to show, in any order; rows may repeat.
        size: side of a view in pixels.

    Returns:
        The rows to compute, in order; their views, with partners among them; and the place of each chosen row there.
    """
    needed = torch.cat([chosen, _visible_partner(_take(views, chosen), chosen, size)]).unique(sorted=True)
    taken = _take(views, needed)
    partner = _visible_partner(taken, needed, size)
    position = torch.searchsorted(needed, partner).clamp(max=max(len(needed) - 1, 0))
    is_included = needed[position] == partner  # a row that is only a partner does not need its own partner
    own = torch.arange(len(needed))
    parts = {name: getattr(taken, name) for name in Views.__slots__}
    subset = Views(**{**parts, "mix_position": torch.where(is_included, position, own)})
    return needed, subset, torch.searchsorted(needed, chosen)


def _take(views: Views, rows: Int[Tensor, "b"]) -> Views:
    return Views(*(getattr(views, name)[rows] for name in Views.__slots__))


def _visible_partner(taken: Views, rows: Int[Tensor, "b"], size: int) -> Int[Tensor, "b"]:
    """Returns the row of each view's partner; its own if nothing of the partner is visible."""
    return torch.where(partner_share(taken, size) > 0, taken.mix_position, rows)
