"""Views: recorded augmentations of distilled images, drawn once and applied from the record.

A view is: patch shuffle -> crop -> resize (bilinear) to size -> flip -> normalise -> mix with the partner.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from rded_core.labels.resampling import Taps, crop_taps, gather_bilinear
from rded_core.patches.crops import NUM_TRIES

CROP_RATIO = (3 / 4, 4 / 3)
"""Aspect ratios (width / height) of a view's crop: RandomResizedCrop's default."""

MIXUP_ALPHA = 0.8
"""MixUp's share follows Beta(alpha, alpha). Source: RDED's code."""


PIXELS_AT_ONCE = 2**20
"""Pixels of views resampled together, so that their float copies stay small (12 MB each)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewRecipe:
    """How views are drawn.

    Attributes:
        size: side of the image and of the view in pixels.
        factor: cells per side that the patch shuffle permutes; 1 shuffles nothing.
        crop_scale_min: smallest share of the image that a crop may cover; the largest is 1.
        flip: mirror with probability 1/2.
        mix: ``cutmix`` (its share is uniform on (0, 1)), ``mixup`` (Beta(0.8, 0.8)) or ``none``; one draw per batch.
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
        row_order: then rows, likewise.
        crop_box: top, left, height, width in pixels of the shuffled image.
        flip: whether the crop is mirrored left to right.
        mix_position: position of the partner in the batch; the view's own if nothing is mixed.
        mix_box: top, left, height, width in pixels of the view, pasted from the partner's view; zeros if none.
        mix_weight: share of the partner's view blended over the whole view (MixUp); 0 if none.
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
    sequence but follow its distribution.
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
    """Applies recorded views to uint8 RGB images; returns normalised float views on the images' device.

    With ``mix=False`` the partner is left out, for `mix_views` to add later. A view depends only on its own row, so
    equal rows give equal views in any batch. Within 1e-6 of the antialiased resize that the record names.
    """
    size = images.shape[-1]
    rows, columns = _taps(views, size)
    output = torch.empty(images.shape, dtype=torch.float32, device=images.device)
    step = max(PIXELS_AT_ONCE // (size * size), 1)
    for start in range(0, len(images), step):
        part = slice(start, start + step)
        levels = gather_bilinear(images[part], rows.part(part), columns.part(part))
        output[part] = normalise_levels(levels, mean, std)
    return mix_views(output, views) if mix else output


def mix_views(images: Float[Tensor, "b 3 s s"], views: Views) -> Float[Tensor, "b 3 s s"]:
    """Blends (MixUp) or pastes (CutMix) each view's partner over it; partners are as before any mixing."""
    box = _box_mask(views.mix_box, images.shape[-1])
    share = views.mix_weight[:, None, None, None].masked_fill(box, 1.0)
    return torch.lerp(images, images[views.mix_position], share)


def normalise_levels(
    levels: Float[Tensor, "b 3 h w"], mean: tuple[float, float, float], std: tuple[float, float, float]
) -> Float[Tensor, "b 3 h w"]:
    """Maps float levels 0..255 in place to (x / 255 - mean) / std per channel.

    Works channel by channel with plain numbers: a tensor of means would have to be copied to the device each time.
    """
    for channel, (middle, spread) in enumerate(zip(mean, std, strict=True)):
        levels[:, channel].sub_(255.0 * middle).div_(255.0 * spread)
    return levels


def join_views(batches: Sequence[Views]) -> Views:
    """Joins batches into one; partners stay within their own batch."""
    starts = list(accumulate((len(batch) for batch in batches), initial=0))
    joined = {name: torch.cat([getattr(batch, name) for batch in batches]) for name in Views.__slots__}
    positions = [batch.mix_position + start for batch, start in zip(batches, starts, strict=False)]
    return Views(**{**joined, "mix_position": torch.cat(positions)})


def partner_share(views: Views, size: int) -> Float[Tensor, "b"]:
    """Returns the share of each view that shows its partner: area of the pasted box, or MixUp's weight."""
    area = (views.mix_box[:, 2] * views.mix_box[:, 3]).float() / (size * size)
    return torch.where(views.mix_weight > 0, views.mix_weight, area)


def _taps(views: Views, size: int) -> tuple[Taps, Taps]:
    """Returns the taps of rows and of columns; a mirrored view reads its columns from the right."""
    top, left, height, width = views.crop_box.unbind(1)
    rows = crop_taps(views.row_order, top, height, size)
    columns = crop_taps(views.column_order, left, width, size)
    mirrored = views.flip[:, None]
    parts = (columns.low, columns.high, columns.share)
    return rows, Taps(*(torch.where(mirrored, part.flip(1), part) for part in parts))


def _box_mask(boxes: Int[Tensor, "b 4"], size: int) -> Bool[Tensor, "b 1 s s"]:
    pixel = torch.arange(size, device=boxes.device)
    top, left, height, width = boxes.unbind(1)
    rows = (pixel >= top[:, None]) & (pixel < (top + height)[:, None])
    columns = (pixel >= left[:, None]) & (pixel < (left + width)[:, None])
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def _draw_view_crops(size: int, num_views: int, generator: torch.Generator, *, scale_min: float) -> Int[Tensor, "b 4"]:
    """Draws RandomResizedCrop boxes in a square image: the first of ten tries that fits, else the whole image."""
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

    Source: Jöhnk's rejection (1964): if u^(1/alpha) and v^(1/alpha) sum to at most 1, the first's share of the sum.
    Uses the first of 64 pairs that fits, so that every draw advances the generator equally far.
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
