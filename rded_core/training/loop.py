"""One training step, one optimiser rule, one evaluation loop."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rded_core.errors import InputError
from rded_core.training.metrics import correct_rows

Targets = TypeVar("Targets")
"""What a loss compares logits with: class indices, soft labels, or several of them."""


def split_decay(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Groups parameters for an optimiser: decay on matrices and kernels, none on 1-d parameters (norms, biases)."""
    wide = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    flat = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    return [{"params": wide, "weight_decay": weight_decay}, {"params": flat, "weight_decay": 0.0}]


def set_learning_rate(optimiser: torch.optim.Optimizer, learning_rate: float) -> None:
    """Sets the learning rate of every parameter group."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate


def train_epoch(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    batches: Iterable[tuple[Float[Tensor, "_b 3 _h _w"], Targets]],
    *,
    loss: Callable[[Tensor, Targets], Tensor],
    learning_rate: Callable[[int], float],
) -> float:
    """Trains on every batch once and returns the mean loss.

    Losses stay on the device until the end: fetching each would stall the GPU's queue.

    Raises:
        InputError: there are no batches.

    Args:
        model: put into training mode.
        optimiser: optimiser of the model's parameters.
        batches: (normalised images, targets); targets are what `loss` takes.
        loss: function of (logits, targets).
        learning_rate: function of the step's number within this epoch.
    """
    model.train()
    losses: list[Tensor] = []
    for images, targets in batches:
        set_learning_rate(optimiser, learning_rate(len(losses)))
        losses.append(train_step(model, optimiser, images, targets, loss=loss))
    if not losses:
        raise InputError("nothing to train on: no batch of usable images; check the source, or lower the batch size")
    return fmean(torch.stack(losses).tolist())


def train_step(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    images: Float[Tensor, "b 3 h w"],
    targets: Targets,
    *,
    loss: Callable[[Tensor, Targets], Tensor],
) -> Float[Tensor, ""]:
    """Runs one forward, backward and update; returns the loss before the update, on its device."""
    optimiser.zero_grad(set_to_none=True)
    value = loss(model(images), targets)
    value.backward()
    optimiser.step()
    return value.detach()


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracy:
    """Top-1 and top-5 accuracy, each in 0..1, over `num_images`."""

    top1: float
    top5: float
    num_images: int


def measure_accuracy(
    model: nn.Module, batches: Iterable[tuple[Float[Tensor, "_b 3 _h _w"], Int[Tensor, "_b"]]]
) -> Accuracy:
    """Measures a model in eval mode over batches of (normalised images, class indices), then restores its mode."""
    was_training = model.training
    model.eval()
    correct: list[Tensor] = []
    with torch.inference_mode():
        for images, targets in batches:
            logits = model(images)
            correct.append(torch.stack([correct_rows(logits, targets, top=top) for top in (1, 5)]))
    model.train(was_training)
    if not correct:
        raise InputError("nothing to measure on: no usable validation image; check the validation source")
    top1, top5 = torch.cat(correct, dim=1).sum(dim=1).tolist()
    total = sum(part.shape[1] for part in correct)
    return Accuracy(top1=top1 / total, top5=top5 / total, num_images=total)
