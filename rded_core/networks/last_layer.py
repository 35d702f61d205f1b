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
"""The cut is tried on images of this contrast too: what clips logits far from zero shows there."""


@dataclass(frozen=True, slots=True, eq=False)
class SplitNetwork:
    """A classifier in two parts: logits = trunk(images) · weightᵀ + bias.

    Attributes:
        trunk: returns the penultimate features, ``[b, d]``.
        weight: of the last layer, ``[k, d]``, float32 on the CPU.
        bias: likewise, ``[k]``; zeros where the layer has none.
    """

    trunk: nn.Module
    weight: Tensor
    bias: Tensor


def split_last_layer(
    network: nn.Module, images: Float[Tensor, "b 3 s s"], columns: Sequence[int] | None = None
) -> SplitNetwork | None:
    """Cuts a classifier at its last linear layer, where its logits are that layer's outputs and nothing else.

    Whether they are is tried on `images`: the last `nn.Linear` that is called must be called once, with one row an
    image, and what it returns must be what the network returns; then the parts must give the same logits, on `images`
    and on the same with more contrast. A copy is cut; the network stays as it is.

    Args:
        network: in eval mode.
        images: normalised images on the network's device, any at all.
        columns: outputs to keep, in this order; all of them for None.

    Returns:
        The parts, or None where the network ends otherwise.
    """
    calls: list[tuple[str, Any]] = []

    def note(name: str, _module: Any, _inputs: Any, output: Any) -> None:
        calls.append((name, output))

    layers = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    hooks = [module.register_forward_hook(partial(note, name)) for name, module in layers]
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
    return split if all(_gives(split, network, shown, wanted) for shown in (images, STRETCH * images)) else None


def _gives(split: SplitNetwork, network: nn.Module, images: Tensor, columns: list[int]) -> bool:
    """Tells whether the parts give a network's logits: what follows its last layer, or looks at it, is found so."""
    try:
        with torch.inference_mode():
            features, logits = split.trunk(images).float().cpu(), network(images).float().cpu()[:, columns]
            given = functional.linear(features, split.weight, split.bias)
    except (RuntimeError, AttributeError, TypeError):
        return False
    near = 1e-3 * float(logits.abs().max())
    return given.shape == logits.shape and torch.allclose(given, logits, rtol=1e-3, atol=near)


def _cut(network: nn.Module, name: str, columns: list[int]) -> SplitNetwork:
    trunk = deepcopy(network)
    holder, _, attribute = name.rpartition(".")
    layer: Any = getattr(trunk.get_submodule(holder), attribute)
    setattr(trunk.get_submodule(holder), attribute, nn.Identity())
    weight = layer.weight.detach().float().cpu()[columns].clone()
    bias = torch.zeros(len(columns)) if layer.bias is None else layer.bias.detach().float().cpu()[columns].clone()
    return SplitNetwork(trunk, weight, bias)
