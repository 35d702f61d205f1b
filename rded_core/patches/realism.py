"""Realism scores: how sure the observer is of a patch's true class."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from rded_core.patches.crops import normalise


def realism_scores(logits: Float[Tensor, "p k"], class_indices: Int[Tensor, "p"]) -> Float[Tensor, "p"]:
    """Computes minus the cross-entropy at the true class, in nats: <= 0, higher is more realistic.

    Source: RDED eq. 4 (the observer's V-information term), as its code computes it.
    """
    return -functional.cross_entropy(logits.float(), class_indices, reduction="none")


def pad_to_canvas(patches: Float[Tensor, "p 3 h w"], size: int) -> Float[Tensor, "p 3 {size} {size}"]:
    """Places normalised patches in the centre of a zero canvas; an odd remainder goes below and to the right.

    Zero is the mean colour, since padding comes after normalising. Source: RDED's code (patches are not enlarged).
    """
    height, width = patches.shape[-2:]
    top, left = (size - height) // 2, (size - width) // 2
    return functional.pad(patches, (left, size - width - left, top, size - height - top))


def score_patches(
    observer: Callable[[Tensor], Tensor],
    patches: Float[Tensor, "p 3 h w"],
    class_indices: Int[Tensor, "p"],
    *,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
) -> Float[Tensor, "p"]:
    """Scores float RGB 0..1 patches with an observer that takes normalised ones (`canvas.CanvasNetwork`).

    Grad mode is switched off inside, because it is local to a thread. All rows of one call share one forward pass:
    callers that promise equal bytes must keep the composition of the batch fixed.
    """
    with torch.inference_mode():
        return realism_scores(observer(normalise(patches, mean, std)), class_indices)


def classify(
    network: nn.Module,
    images: Float[Tensor, "p 3 s s"],
    *,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
) -> Float[Tensor, "p k"]:
    """Returns a network's logits for whole float RGB 0..1 images, without gradients."""
    with torch.inference_mode():
        return network(normalise(images, mean, std).contiguous(memory_format=torch.channels_last)).float()
