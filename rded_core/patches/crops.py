"""Crop boxes, drawn as by torchvision's RandomResizedCrop, and the patches cut with them."""

import math
import struct
from collections.abc import Iterator
from functools import lru_cache

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

NUM_TRIES = 10
"""Attempts before the fallback to the centre, as in torchvision."""

WORDS_PER_TRY = 4
"""32-bit words of the generator that one attempt uses: area, aspect ratio, top, left."""

FLOAT = struct.Struct("f")


def draw_crop_box(
    height: int,
    width: int,
    generator: torch.Generator,
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float] = (1.0, 1.0),
) -> tuple[int, int, int, int]:
    """Draws one box (top, left, height, width) inside a `height` x `width` image.

    Area is uniform in `scale` times the image's; the aspect ratio (width / height) is log-uniform in `ratio`. After
    ten boxes that do not fit, the largest centred box with an allowed ratio is used.

    Source: torchvision ``RandomResizedCrop.get_params``; the same sequence of draws, from `generator` instead of the
    global one, so that equal seeds give equal boxes.
    """
    low, high = _log_ratio(ratio)
    drawn, place = torch.empty(1), torch.empty(1, dtype=torch.int64)
    for _ in range(NUM_TRIES):
        target_area = height * width * drawn.uniform_(*scale, generator=generator).item()
        aspect = drawn.uniform_(low, high, generator=generator).exp_().item()
        box_width = round(math.sqrt(target_area * aspect))
        box_height = round(math.sqrt(target_area / aspect))
        if 0 < box_width <= width and 0 < box_height <= height:
            top = int(place.random_(0, height - box_height + 1, generator=generator).item())
            left = int(place.random_(0, width - box_width + 1, generator=generator).item())
            return top, left, box_height, box_width
    return centre_box(height, width, ratio=ratio)


@lru_cache(maxsize=8)
def _log_ratio(ratio: tuple[float, float]) -> tuple[float, float]:
    """Returns the logarithms rounded to float32, as torchvision does."""
    low, high = torch.log(torch.tensor(ratio)).tolist()
    return low, high


def centre_box(height: int, width: int, *, ratio: tuple[float, float] = (1.0, 1.0)) -> tuple[int, int, int, int]:
    """Returns the largest centred box whose aspect ratio (width / height) lies in `ratio`."""
    aspect = width / height
    if aspect < min(ratio):
        box_height, box_width = round(width / min(ratio)), width
    elif aspect > max(ratio):
        box_height, box_width = height, round(height * max(ratio))
    else:
        box_height, box_width = height, width
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width


def draw_crop_boxes(
    height: int, width: int, generator: torch.Generator, *, num_crops: int, scale: tuple[float, float]
) -> Int[Tensor, "m 4"]:
    """Draws the `num_crops` square boxes of one candidate, in order, as int64 (top, left, height, width).

    The same boxes as from `num_crops` calls of `draw_crop_box`, but the generator's words are drawn in bulk, in a
    quarter of the time: when many cores decode, they wait for the interpreter's lock. The generator ends further on.

    Source: RDED section 4.1 and its code: K boxes of RandomResizedCrop(scale (0.08, 1), ratio (1, 1)).
    """
    words = _words(generator, at_least=2 * WORDS_PER_TRY * num_crops)
    boxes = [_square_box(height, width, words, scale) for _ in range(num_crops)]
    return torch.tensor(boxes, dtype=torch.int64).reshape(num_crops, 4)


def _square_box(height: int, width: int, words: Iterator[int], scale: tuple[float, float]) -> tuple[int, int, int, int]:
    """Draws one square box from a generator's 32-bit words, converted to numbers as in torch."""
    low = _round(scale[0])
    span = _round(_round(scale[1]) - low)
    for _ in range(NUM_TRIES):
        share = _round((next(words) & 0xFFFFFF) / 2**24 * span + low)
        next(words)  # the aspect ratio's word, unused: the ratio is always 1
        side = round(math.sqrt(height * width * share))
        if 0 < side <= min(height, width):
            return next(words) % (height - side + 1), next(words) % (width - side + 1), side, side
    return centre_box(height, width)


def _round(value: float) -> float:
    """Rounds to float32, the precision of the bounds and the result of torch's uniform draws."""
    return FLOAT.unpack(FLOAT.pack(value))[0]


def _words(generator: torch.Generator, *, at_least: int) -> Iterator[int]:
    """Yields the generator's 32-bit words in order, drawn in blocks."""
    while True:
        for pair in torch.empty(at_least // 2, dtype=torch.int64).random_(-(2**63), None, generator=generator).tolist():
            yield pair >> 32 & 0xFFFFFFFF
            yield pair & 0xFFFFFFFF


def cut_patch(
    image: UInt8[Tensor, "3 h w"], box: Int[Tensor, "4"], height_px: int, width_px: int, *, mode: str = "bilinear"
) -> Float[Tensor, "3 _h _w"]:
    """Cuts `box` out of `image` and resizes it to `height_px` x `width_px`: float RGB 0..1.

    Bilinear (or `mode` ``bicubic``) with antialiasing. Only the window is converted to float, which gives the same
    result as cropping a float image.
    """
    top, left, height, width = box.tolist()
    window = image[:, top : top + height, left : left + width].to(torch.float32).div_(255.0)
    return _resize(window, height_px, width_px, mode=mode)


def _resize(
    window: Float[Tensor, "3 h w"], height_px: int, width_px: int, *, mode: str = "bilinear"
) -> Float[Tensor, "3 _h _w"]:
    if window.shape[1:] == (height_px, width_px):
        return window
    size = (height_px, width_px)
    resized = functional.interpolate(window[None], size=size, mode=mode, align_corners=False, antialias=True)[0]
    return resized.clamp_(0.0, 1.0) if mode == "bicubic" else resized


def cut_patches(
    image: UInt8[Tensor, "3 h w"], boxes: Int[Tensor, "m 4"], patch_px: int
) -> Float[Tensor, "m 3 {patch_px} {patch_px}"]:
    """Cuts and resizes every box of one candidate to `patch_px` squared: float RGB 0..1, in box order.

    The same numbers as from `cut_patch` box by box, but the image is converted to float once.
    """
    pixels = image.to(torch.float32).div_(255.0)
    windows = [pixels[:, top : top + height, left : left + width] for top, left, height, width in boxes.tolist()]
    return torch.stack([_resize(window, patch_px, patch_px) for window in windows])


def fit_centre(
    image: UInt8[Tensor, "3 h w"], size: int, *, resize_px: int, mode: str = "bilinear"
) -> Float[Tensor, "3 {size} {size}"]:
    """Resizes the short side to `resize_px` and cuts the central `size` squared: float RGB 0..1.

    Source: torchvision's evaluation transform (Resize, CenterCrop); `resize_px` must be >= `size`.
    """
    height, width = image.shape[1:]
    short = min(height, width)
    resized_height = max(resize_px, int(resize_px * height / short))
    resized_width = max(resize_px, int(resize_px * width / short))
    whole = torch.tensor([0, 0, height, width])
    resized = cut_patch(image, whole, resized_height, resized_width, mode=mode)
    top = round((resized_height - size) / 2.0)
    left = round((resized_width - size) / 2.0)
    return resized[:, top : top + size, left : left + size]


def normalise(
    images: Float[Tensor, "*b 3 h w"], mean: tuple[float, float, float], std: tuple[float, float, float]
) -> Float[Tensor, "*b 3 h w"]:
    """Maps float RGB 0..1 to (x - mean) / std per channel."""
    shape = (3, 1, 1)
    return (images - images.new_tensor(mean).view(shape)) / images.new_tensor(std).view(shape)
