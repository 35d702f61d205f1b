"""Views: recorded augmentations of distilled images, drawn once and applied by anyone who reads the record.

A view is: patch shuffle -> crop -> resize (bilinear, antialias) to size -> flip -> normalise -> mix with the partner.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from rded_core.crops import NUM_TRIES, cut_patch, normalise
from rded_core.squeeze import cell_edges

CROP_RATIO = (3 / 4, 4 / 3)
"""Aspect ratios (width / height) of a view's crop: RandomResizedCrop's default."""

MIXUP_ALPHA = 0.8
"""MixUp's share is Beta(alpha, alpha). Source: RDED's code."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewRecipe:
    """How views are drawn.

    Attributes:
        size: side of the image and of the view in pixels.
        factor: cells per side that patch shuffle permutes; 1 shuffles nothing.
        crop_scale_min: smallest share of the image that a crop may cover; the largest is 1.
        flip: mirror with probability 1/2.
        mix: ``cutmix`` (its share is uniform on (0, 1)), ``mixup`` (Beta(0.8, 0.8)) or ``none``; one draw for a batch.
    """

    size: int
    factor: int
    crop_scale_min: float
    flip: bool
    mix: str


@dataclass(frozen=True, slots=True)
class Views:
    """Parameters of one batch of views; row i belongs to the batch's image i.

    Attributes:
        column_order: output column c of cells shows input column ``column_order[c]``.
        row_order: then rows likewise.
        crop_box: top, left, height, width in pixels of the shuffled image.
        flip: mirrored left to right, after the crop.
        mix_position: the partner's position in the batch; its own where nothing is mixed.
        mix_box: top, left, height, width in pixels of the view, pasted from the partner's view; zeros for none.
        mix_weight: share of the partner's view blended over the whole view (MixUp); 0 for none.
    """

    column_order: Int[Tensor, "b f"]
    row_order: Int[Tensor, "b f"]
    crop_box: Int[Tensor, "b 4"]
    flip: Bool[Tensor, "b"]
    mix_position: Int[Tensor, "b"]
    mix_box: Int[Tensor, "b 4"]
    mix_weight: Float[Tensor, "b"]

    def __len__(self) -> int:
        return len(self.flip)


def draw_views(recipe: ViewRecipe, num_views: int, generator: torch.Generator) -> Views:
    """Draws the views of one batch.

    Source: RDED's student loop (PatchShuffle, RandomResizedCrop with scale (1 / factor, 1), flip, CutMix with one box
    per batch and a random pairing). Numbers are drawn for the whole batch at once, so they differ from torchvision's
    sequence while following its distribution.
    """
    column_order = torch.rand(num_views, recipe.factor, generator=generator).argsort(dim=1)
    row_order = torch.rand(num_views, recipe.factor, generator=generator).argsort(dim=1)
    crop_box = _draw_view_crops(recipe.size, num_views, generator, scale_min=recipe.crop_scale_min)
    flip = (torch.rand(num_views, generator=generator) < 0.5) & recipe.flip
    partner = torch.randperm(num_views, generator=generator)
    share = torch.rand(1, generator=generator).item()
    centre = torch.rand(2, generator=generator)
    own = torch.arange(num_views)
    box = torch.zeros(num_views, 4, dtype=torch.int64)
    weight = torch.zeros(num_views)
    if recipe.mix == "cutmix":
        box = _cutmix_box(recipe.size, share, centre).expand(num_views, 4).clone()
    elif recipe.mix == "mixup":
        weight = torch.full((num_views,), _draw_beta(MIXUP_ALPHA, generator))
    return Views(column_order, row_order, crop_box, flip, own if recipe.mix == "none" else partner, box, weight)


def apply_views(
    images: UInt8[Tensor, "b 3 s s"],
    views: Views,
    *,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    mix: bool = True,
) -> Float[Tensor, "b 3 s s"]:
    """Applies recorded views to uint8 RGB images; returns normalised float views.

    With ``mix=False`` the partner is left out: `mix_views` puts it in later.
    """
    size = images.shape[-1]
    cells = cell_edges(size, views.column_order.shape[1])
    shown = torch.stack([_one_view(image, views, row, cells) for row, image in enumerate(images)])
    shown = torch.where(views.flip[:, None, None, None], shown.flip(-1), shown)
    shown = normalise(shown, mean, std)
    return mix_views(shown, views) if mix else shown


def mix_views(shown: Float[Tensor, "b 3 s s"], views: Views) -> Float[Tensor, "b 3 s s"]:
    """Blends (MixUp) or pastes (CutMix) each view's partner over it; partners are taken before any mixing."""
    partners = shown[views.mix_position]
    weight = views.mix_weight[:, None, None, None]
    blended = torch.where(weight > 0, shown * (1.0 - weight) + partners * weight, shown)
    return torch.where(_box_mask(views.mix_box, shown.shape[-1]), partners, blended)


def partner_share(views: Views, size: int) -> Float[Tensor, "b"]:
    """Returns the share of each view that shows its partner: area of the pasted box, or MixUp's weight."""
    area = (views.mix_box[:, 2] * views.mix_box[:, 3]).float() / (size * size)
    return torch.where(views.mix_weight > 0, views.mix_weight, area)


def _one_view(image: UInt8[Tensor, "3 s s"], views: Views, row: int, cells: list[int]) -> Float[Tensor, "3 s s"]:
    size = image.shape[-1]
    if len(cells) > 2:
        image = image[:, :, _cell_order(views.column_order[row], cells)]
        image = image[:, _cell_order(views.row_order[row], cells), :]
    return cut_patch(image, views.crop_box[row], size, size)


def _cell_order(order: Int[Tensor, "f"], cells: list[int]) -> Int[Tensor, "s"]:
    return torch.cat([torch.arange(cells[cell], cells[cell + 1]) for cell in order.tolist()])


def _box_mask(boxes: Int[Tensor, "b 4"], size: int) -> Bool[Tensor, "b 1 s s"]:
    pixel = torch.arange(size, device=boxes.device)
    top, left, height, width = boxes.unbind(1)
    rows = (pixel >= top[:, None]) & (pixel < (top + height)[:, None])
    columns = (pixel >= left[:, None]) & (pixel < (left + width)[:, None])
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def _draw_view_crops(size: int, num_views: int, generator: torch.Generator, *, scale_min: float) -> Int[Tensor, "b 4"]:
    """Draws RandomResizedCrop boxes in a square image: ten tries each, the first that fits; else the whole image."""
    area, aspect, down, across = torch.rand(4, num_views, NUM_TRIES, generator=generator, dtype=torch.float64)
    area = (scale_min + area * (1.0 - scale_min)) * size * size
    log_low, log_high = torch.log(torch.tensor(CROP_RATIO, dtype=torch.float64)).tolist()
    aspect = torch.exp(log_low + aspect * (log_high - log_low))
    width = torch.sqrt(area * aspect).round().long()
    height = torch.sqrt(area / aspect).round().long()
    fits = (width > 0) & (width <= size) & (height > 0) & (height <= size)
    top = (down * (size - height + 1)).long()
    left = (across * (size - width + 1)).long()
    tries = torch.stack([top, left, height, width], dim=-1)
    first = fits.long().argmax(dim=1)
    chosen = tries[torch.arange(num_views), first]
    whole = torch.tensor([0, 0, size, size])
    return torch.where(fits.any(dim=1)[:, None], chosen, whole)


def _draw_beta(alpha: float, generator: torch.Generator) -> float:
    """Draws from Beta(alpha, alpha), alpha <= 1.

    Source: Jöhnk's rejection (1964): of u^(1/alpha) and v^(1/alpha), where they sum to at most 1, the first's share.
    Of 64 pairs the first that fits is taken, so that every draw moves the generator equally far.
    """
    first, second = torch.rand(2, 64, generator=generator, dtype=torch.float64).pow(1.0 / alpha)
    place = int((first + second <= 1.0).long().argmax())
    return (first[place] / (first[place] + second[place])).item()


def _cutmix_box(size: int, share: float, centre: Float[Tensor, "2"]) -> Int[Tensor, "4"]:
    """Returns a box of about `share` of the area around a uniform centre, clipped at the border.

    Source: CutMix (Yun et al., ICCV 2019); `share` is their 1 - lambda, uniform for Beta(1, 1).
    """
    side = int(size * share**0.5)
    middle = (centre * size).long()
    low = (middle - side // 2).clamp(0, size)
    high = (middle + side // 2).clamp(0, size)
    return torch.cat([low, high - low])
