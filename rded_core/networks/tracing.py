"""Frozen networks traced with torch.fx, rewritten to run faster with the same outputs."""

import operator
from collections.abc import Mapping

import torch
from torch import fx, nn
from torch.fx.experimental.optimization import fuse

from rded_core.networks.winograd import WinogradConv2d

SUMS = (operator.add, operator.iadd, torch.add)
"""Functions that add two maps into a new one (or into the first)."""


def trace(network: nn.Module) -> fx.GraphModule | None:
    """Returns a copy with BatchNorm folded and no map overwritten that is read again; None if fx cannot trace it."""
    try:
        traced = fuse(network)
    except torch.OutOfMemoryError:
        raise
    except Exception:  # a network's own code may raise anything when given fx's proxies for tensors
        return None
    if not isinstance(traced, fx.GraphModule):
        return None
    traced = traced.eval().requires_grad_(False)
    _overwrite_only_own(traced)
    return traced


def use_winograd(traced: fx.GraphModule) -> None:
    """Replaces convolutions by Winograd ones in a traced network that will run in float32."""
    for name, module in list(traced.named_modules()):
        if isinstance(module, nn.Conv2d) and WinogradConv2d.takes(module):
            traced.set_submodule(name, WinogradConv2d(module))


def _overwrite_only_own(traced: fx.GraphModule) -> None:
    """Lets an activation work in place only if its input is a layer's fresh output that nothing else reads."""
    modules = dict(traced.named_modules())
    in_place: dict[str, bool] = {}
    for node in traced.graph.nodes:
        if node.op == "call_module" and hasattr(modules[str(node.target)], "inplace"):
            in_place[str(node.target)] = in_place.get(str(node.target), True) and _is_only_reader(node, modules)
    for name, wanted in in_place.items():
        setattr(modules[name], "inplace", wanted)  # noqa: B010 (a plain attribute, unknown to nn.Module's types)


def _is_only_reader(node: fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    """Returns True if a node's only input is the fresh output of a convolution or sum that nothing else reads."""
    if len(node.all_input_nodes) != 1:
        return False
    source = node.all_input_nodes[0]
    fresh = source.target in SUMS or isinstance(modules.get(str(source.target)), nn.Conv2d)
    return fresh and len(source.users) == 1
