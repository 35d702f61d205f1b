"""One training step, one optimiser rule, one evaluation loop."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rded_core.errors import InputError
from rded_core.metrics import count_correct

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

    Raises:
        InputError: there is no batch.

    Args:
        model: put into training mode.
        optimiser: over the model's parameters.
        batches: (normalised images, targets); targets are what `loss` takes.
        loss: of (logits, targets).
        learning_rate: of the step's number inside this epoch.
    """
    model.train()
    total, steps = 0.0, 0
    for images, targets in batches:
        set_learning_rate(optimiser, learning_rate(steps))
        total += train_step(model, optimiser, images, targets, loss=loss)
        steps += 1
    if steps == 0:
        raise InputError(
            "nothing to train on: not one batch of usable images; check the source, or lower the batch size"
        )
    return total / steps


def train_step(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    images: Float[Tensor, "b 3 h w"],
    targets: Targets,
    *,
    loss: Callable[[Tensor, Targets], Tensor],
) -> float:
    """Runs one forward, backward and update; returns the loss before the update."""
    optimiser.zero_grad(set_to_none=True)
    value = loss(model(images), targets)
    value.backward()
    optimiser.step()
    return float(value.detach().item())


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracy:
    """Top-1 and top-5 accuracy, each in 0..1, over `num_images`."""

    top1: float
    top5: float
    num_images: int


def measure_accuracy(
    model: nn.Module, batches: Iterable[tuple[Float[Tensor, "_b 3 _h _w"], Int[Tensor, "_b"]]]
) -> Accuracy:
    """Evaluates a model in eval mode over batches of (normalised images, class indices); restores its mode after."""
    was_training = model.training
    model.eval()
    top1 = top5 = total = 0
    with torch.inference_mode():
        for images, targets in batches:
            logits = model(images)
            top1 += count_correct(logits, targets, top=1)
            top5 += count_correct(logits, targets, top=5)
            total += len(targets)
    model.train(was_training)
    if total == 0:
        raise InputError("nothing to measure on: no validation image could be used")
    return Accuracy(top1=top1 / total, top5=top5 / total, num_images=total)
