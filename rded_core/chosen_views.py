"""Some of an epoch's views on their own, whatever batches they were recorded in."""

import torch
from jaxtyping import Int
from torch import Tensor

from rded_core.views import Views, partner_share


def choose_views(views: Views, chosen: Int[Tensor, "b"], size: int) -> tuple[Int[Tensor, "n"], Views, Int[Tensor, "b"]]:
    """Returns what must be made to show some rows of `views`: each row, and once each its partner where one is seen.

    Args:
        views: partners are rows of the same views.
        chosen: rows to show.
        size: side of a view in pixels.

    Returns:
        The rows to make, in order; their views, with partners among them; and the place of each chosen row there.
    """
    partner = torch.where(partner_share(views, size) > 0, views.mix_position, torch.arange(len(views)))
    needed = torch.cat([chosen, partner[chosen]]).unique(sorted=True)
    parts = {name: getattr(views, name)[needed] for name in Views.__slots__}
    found = torch.searchsorted(needed, partner[needed]).clamp(max=len(needed) - 1)
    is_there = needed[found] == partner[needed]  # partners of those that are only partners need not be made
    parts["mix_position"] = torch.where(is_there, found, torch.arange(len(needed)))
    return needed, Views(**parts), torch.searchsorted(needed, chosen)
