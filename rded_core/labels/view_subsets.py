"""Some of an epoch's views on their own, whatever batches they were recorded in."""

import torch
from jaxtyping import Int
from torch import Tensor

from rded_core.labels.views import Views, partner_share


def choose_views(views: Views, chosen: Int[Tensor, "b"], size: int) -> tuple[Int[Tensor, "n"], Views, Int[Tensor, "b"]]:
    """Returns what must be made to show some rows of `views`: each row, and once each its partner where one is seen.

    Its cost grows with the rows chosen, not with the epoch.

    Args:
        views: partners are rows of the same views.
        chosen: rows to show, in any order, any of them more than once.
        size: side of a view in pixels.

    Returns:
        The rows to make, in order; their views, with partners among them; and the place of each chosen row there.
    """
    needed = torch.cat([chosen, _seen_partner(_take(views, chosen), chosen, size)]).unique(sorted=True)
    taken = _take(views, needed)
    partner = _seen_partner(taken, needed, size)
    found = torch.searchsorted(needed, partner).clamp(max=max(len(needed) - 1, 0))
    is_there = needed[found] == partner  # partners of those that are only partners need not be made
    own = torch.arange(len(needed))
    parts = {name: getattr(taken, name) for name in Views.__slots__}
    made = Views(**{**parts, "mix_position": torch.where(is_there, found, own)})
    return needed, made, torch.searchsorted(needed, chosen)


def _take(views: Views, rows: Int[Tensor, "b"]) -> Views:
    return Views(*(getattr(views, name)[rows] for name in Views.__slots__))


def _seen_partner(taken: Views, rows: Int[Tensor, "b"], size: int) -> Int[Tensor, "b"]:
    """Returns the row of each view's partner; its own where nothing of the partner is seen."""
    return torch.where(partner_share(taken, size) > 0, taken.mix_position, rows)
