"""A classifier's last layer: what comes before it, and its matrix."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

STRETCH = 30.0
"""Factor on the images' contrast in a second check of the split, which reveals clipping of logits far from zero."""


@dataclass(frozen=True, slots=True, eq=False)
class SplitNetwork:
    """A classifier in two parts: logits = trunk(images) · weightᵀ + bias.

    Attributes:
        trunk: network that returns the penultimate features, ``[b, d]``.
        weight: weight of the last layer, ``[k, d]``, float32 on the CPU.
        bias: its bias, likewise, ``[k]``; zeros if the layer has none.
    """

    trunk: nn.Module
    weight: Tensor
    bias: Tensor


def split_last_layer(
    network: nn.Module, images: Float[Tensor, "b 3 s s"], columns: Sequence[int] | None = None
) -> SplitNetwork | None:
    """Splits a classifier at its last linear layer, if its logits are exactly that layer's outputs.

    This is checked on `images`: the last `nn.Linear` that is called must be called once, with one row per image, and
    the network must return its outputs; then the parts must give the same logits, on `images` and on the same images
    with more contrast. A copy is split; the network is not changed.

    Args:
        network: in eval mode.
        images: any normalised images, on the network's device.
        columns: outputs to keep, in this order; None for all.

    Returns:
        The parts, or None if the network ends differently.
    """
    calls: list[tuple[str, Any]] = []

    def record(name: str, _module: Any, _inputs: Any, output: Any) -> None:
        calls.append((name, output))

    layers = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    hooks = [module.register_forward_hook(partial(record, name)) for name, module in layers]
    try:
        with torch.inference_mode():
            logits = network(images)
    finally:
        for hook in hooks:
            hook.remove()
    names = [name for name, _ in calls]
    if not calls or names.count(names[-1]) > 1 or not names[-1]:
        return None
    name, last = calls[-1]
    if last.shape != logits.shape or not torch.equal(last, logits):
        return None
    wanted = list(range(logits.shape[1])) if columns is None else list(columns)
    split = _cut(network, name, wanted)
    return split if all(_reproduces(split, network, batch, wanted) for batch in (images, STRETCH * images)) else None


def _reproduces(split: SplitNetwork, network: nn.Module, images: Tensor, columns: list[int]) -> bool:
    """Returns True if the parts give the network's logits, so that no code follows its last layer or inspects it."""
    try:
        with torch.inference_mode():
            features, logits = split.trunk(images).float().cpu(), network(images).float().cpu()[:, columns]
            recombined = functional.linear(features, split.weight, split.bias)
    except (RuntimeError, AttributeError, TypeError):
        return False
    atol = 1e-3 * float(logits.abs().max())
    return recombined.shape == logits.shape and torch.allclose(recombined, logits, rtol=1e-3, atol=atol)


def _cut(network: nn.Module, name: str, columns: list[int]) -> SplitNetwork:
    trunk = deepcopy(network)
    holder, _, attribute = name.rpartition(".")
    layer: Any = getattr(trunk.get_submodule(holder), attribute)
    setattr(trunk.get_submodule(holder), attribute, nn.Identity())
    weight = layer.weight.detach().float().cpu()[columns].clone()
    bias = torch.zeros(len(columns)) if layer.bias is None else layer.bias.detach().float().cpu()[columns].clone()
    return SplitNetwork(trunk, weight, bias)
