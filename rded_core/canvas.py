"""The observer as it sees patches: in the middle of a zero canvas, most of which need not be computed.

Away from the patch, every early layer's activations are constants of the network. They are recorded once with an empty
canvas; afterwards each layer computes only the box that the patch can reach, and takes the rest from the record. Where
the box fills the map, or an operation is not understood, the whole map is put together and the network goes on as
usual. On the CPU, 3 x 3 convolutions of many channels are computed with fewer multiplications (`winograd`).
"""

import operator
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn
from torch.fx.experimental.optimization import fuse
from torch.fx.node import map_aggregate
from torch.nn import functional

from rded_core.realism import pad_to_canvas
from rded_core.windows import Sizes, Span, reached_outputs, read_inputs
from rded_core.winograd import WinogradConv2d

FULL_SHARE = 0.85
"""A window that covers more of its map than this is computed as the whole map: cutting out would cost more."""

PROBE_TOLERANCE = 1e-4
"""Largest difference of logits, as a share of their spread, that the construction's own check lets pass."""

POINTWISE_MODULES = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.GELU, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.Tanh,
    nn.Dropout, nn.Identity, nn.BatchNorm2d,
)  # fmt: skip
POINTWISE_FUNCTIONS = (torch.relu, functional.relu, functional.relu6, functional.silu, torch.sigmoid)
SUMS = (operator.add, operator.iadd, torch.add)


@dataclass(frozen=True, slots=True)
class Window:
    """A batch of maps that differ from a constant only inside a box.

    Attributes:
        values: b c h w, inside the box.
        rows: the box's rows of the map, half-open.
        columns: likewise.
        outside: 1 c H W, the constant map.
    """

    values: Tensor
    rows: Span
    columns: Span
    outside: Tensor

    def within(self, rows: Span, columns: Span, *, pad: float = 0.0) -> Tensor:
        """Returns the maps over another box, which may reach beyond the map: `pad` lies there."""
        height, width = self.outside.shape[-2:]
        (top, bottom), (left, right) = rows, columns
        inner = self.outside[..., max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
        border = (max(-left, 0), max(right - width, 0), max(-top, 0), max(bottom - height, 0))
        maps = functional.pad(inner, border, value=pad).expand(len(self.values), -1, -1, -1)
        maps = maps.clone(memory_format=torch.channels_last)
        own_rows, own_columns = _overlap(self.rows, rows), _overlap(self.columns, columns)
        maps[..., _shift(own_rows, -top), _shift(own_columns, -left)] = self.values[
            ..., _shift(own_rows, -self.rows[0]), _shift(own_columns, -self.columns[0])
        ]
        return maps

    def whole(self) -> Tensor:
        """Returns the maps over the whole map."""
        height, width = self.outside.shape[-2:]
        return self.within((0, height), (0, width))


class CanvasNetwork(nn.Module):
    """A frozen classifier for patches: the logits of ``network(pad_to_canvas(patches, size))``, with less work.

    Made by one thread at a time, while no other runs a network (fx stands in for ``nn.Module.__call__`` as it traces);
    used by any number. BatchNorm is folded into convolutions. On a network that torch.fx cannot trace, or one whose
    traced form fails a check against the original on drawn patches, the plain network is used as it is: `shortcut` says
    which.

    Args:
        network: in eval mode; it is not changed.
        patch_px: side of the patches.
        size: side of the canvas.
        dtype: of the arithmetic; patches and logits are float32 all the same.

    Source: receptive-field arithmetic; logits agree with the plain network's within 1e-5 (tests/parity/test_canvas.py).
    """

    def __init__(self, network: nn.Module, *, patch_px: int, size: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.network = network
        self.size = size
        self.dtype = torch.float32
        start = (size - patch_px) // 2
        self.place: Span = (start, start + patch_px)
        self.traced: fx.GraphModule | None = _trace(network)
        self.outside: dict[str, Tensor] = {}
        if self.traced is not None and dtype == torch.float32:
            _take_fewer_products(self.traced)
        self.shortcut = self.traced is not None and self._prepare(patch_px)
        if dtype != torch.float32:
            self._round_to(dtype)

    def forward(self, patches: Float[Tensor, "p 3 h w"]) -> Float[Tensor, "p k"]:
        return self._run(patches.to(self.dtype)).float()

    def _run(self, patches: Tensor) -> Tensor:
        if not self.shortcut or self.traced is None:
            return self._plain(patches)
        patches = patches.contiguous(memory_format=torch.channels_last)
        if not self.outside:
            return self.traced(patches)
        canvas = Window(patches, self.place, self.place, self.outside["canvas"])
        return _Interpreter(self.traced, self.outside).run(canvas)

    def _plain(self, patches: Tensor) -> Tensor:
        return self.network(pad_to_canvas(patches, self.size).contiguous(memory_format=torch.channels_last))

    def _prepare(self, patch_px: int) -> bool:
        """Records the empty canvas and holds the traced network to the plain one; False where they differ."""
        assert self.traced is not None
        patches = torch.rand(2, 3, patch_px, patch_px, generator=torch.Generator().manual_seed(0)) * 4.0 - 2.0
        for parameter in self.network.parameters():
            patches = patches.to(parameter.device, parameter.dtype)
        self.shortcut = True
        with torch.inference_mode():
            try:
                self._record(patches)
                found = self._run(patches)
            except torch.OutOfMemoryError:
                raise
            except Exception:  # any code may be traced wrongly: the plain network, computed below, tells what is right
                found = None
            expected = self._plain(patches)
        spread = float(expected.std()) or 1.0
        if found is None or found.shape != expected.shape:
            return False
        return float((found - expected).abs().max()) <= PROBE_TOLERANCE * spread

    def _record(self, like: Tensor) -> None:
        """Keeps every map of an empty canvas, on the device and of the type of `like`."""
        assert self.traced is not None
        if self.place != (0, self.size):
            recorder = _Recorder(self.traced)
            recorder.run(like.new_zeros(1, 3, self.size, self.size))
            self.outside = recorder.outputs

    def _round_to(self, dtype: torch.dtype) -> None:
        """Turns weights and the empty canvas's maps into another type; the network given is copied first."""
        self.dtype = dtype
        if self.shortcut and self.traced is not None:
            self.traced = self.traced.to(dtype)
            with torch.inference_mode():
                self._record(next(self.traced.parameters()))
        else:
            self.network = deepcopy(self.network).to(dtype)


def _trace(network: nn.Module) -> fx.GraphModule | None:
    """Returns a copy with BatchNorm folded and nothing done in place, or None where fx cannot follow the code."""
    try:
        traced = fuse(network)
    except torch.OutOfMemoryError:
        raise
    except Exception:  # whatever a network's own code does with fx's stand-ins for tensors
        return None
    if not isinstance(traced, fx.GraphModule):
        return None
    traced = traced.eval().requires_grad_(False)
    _overwrite_only_own(traced)
    return traced


def _take_fewer_products(traced: fx.GraphModule) -> None:
    """Puts Winograd convolutions into a traced network that is going to run in float32."""
    for name, module in list(traced.named_modules()):
        if isinstance(module, nn.Conv2d) and WinogradConv2d.takes(module):
            traced.set_submodule(name, WinogradConv2d(module))


def _overwrite_only_own(traced: fx.GraphModule) -> None:
    """Lets activations work in place where nothing else reads their input, a layer's own fresh output; only there."""
    modules = dict(traced.named_modules())
    in_place: dict[str, bool] = {}
    for node in traced.graph.nodes:
        if node.op == "call_module" and hasattr(modules[str(node.target)], "inplace"):
            source = node.all_input_nodes[0]
            fresh = source.target in SUMS or isinstance(modules.get(str(source.target)), nn.Conv2d)
            in_place[str(node.target)] = in_place.get(str(node.target), True) and fresh and len(source.users) == 1
    for name, wanted in in_place.items():
        setattr(modules[name], "inplace", wanted)  # noqa: B010 (a plain attribute, unknown to nn.Module's types)


class _Recorder(fx.Interpreter):
    """Runs the network on one empty canvas and keeps every map."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.outputs: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor) and result.ndim == 4:
            self.outputs["canvas" if n.op == "placeholder" else n.name] = result.clone()
        return result


class _Interpreter(fx.Interpreter):
    """Runs the network on windows; one for each call, since it holds the call's values."""

    def __init__(self, module: fx.GraphModule, outside: Mapping[str, Tensor]) -> None:
        super().__init__(module)
        self.outside = outside

    def run_node(self, n: fx.Node) -> Any:
        if n.op in ("call_module", "call_function") and n.name in self.outside:
            arguments, options = self.fetch_args_kwargs_from_env(n)
            found = self._on_windows(n, arguments, options)
            if found is not None:
                return found
        return super().run_node(n)

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return super().call_module(target, _whole(args), _whole(kwargs))

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return super().call_function(target, _whole(args), _whole(kwargs))

    def call_method(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return super().call_method(target, _whole(args), _whole(kwargs))

    def _on_windows(self, n: fx.Node, arguments: tuple[Any, ...], options: dict[str, Any]) -> Window | None:
        """Returns the node's window, or None where it must be computed on whole maps."""
        outside = self.outside[n.name]
        if n.op == "call_module":
            module = self.fetch_attr(str(n.target))
            if len(arguments) != 1 or options or not isinstance(arguments[0], Window):
                return None
            if isinstance(module, POINTWISE_MODULES):
                return _pointwise(module, arguments[0], outside)
            return _local(module, arguments[0], outside)
        function: Any = n.target
        if function in POINTWISE_FUNCTIONS and isinstance(arguments[0], Window):
            return _pointwise(lambda values: function(values, *arguments[1:], **options), arguments[0], outside)
        if function in SUMS and len(arguments) == 2 and not options:
            return _joined(lambda parts: parts[0] + parts[1], arguments, outside)
        if function is torch.cat and (arguments[1:] == (1,) or options == {"dim": 1}):
            return _joined(lambda parts: torch.cat(parts, dim=1), arguments[0], outside)
        return None


def _pointwise(function: Callable[[Tensor], Tensor], window: Window, outside: Tensor) -> Window:
    return Window(function(window.values), window.rows, window.columns, outside)


def _joined(function: Callable[[list[Tensor]], Tensor], parts: Any, outside: Tensor) -> Window | None:
    """Adds or stacks windows of equal maps over the smallest box that holds them all."""
    if not all(isinstance(part, Window) for part in parts):
        return None
    if len({part.outside.shape[-2:] for part in parts}) > 1:
        return None
    rows = (min(part.rows[0] for part in parts), max(part.rows[1] for part in parts))
    columns = (min(part.columns[0] for part in parts), max(part.columns[1] for part in parts))
    same = [
        part.values if (part.rows, part.columns) == (rows, columns) else part.within(rows, columns) for part in parts
    ]
    return Window(function(same), rows, columns, outside)


def _local(module: Any, window: Window, outside: Tensor) -> Window | None:
    """Runs a convolution or pooling on the part of its input that the patch can reach through it."""
    layer = _describe(module)
    if layer is None:
        return None
    height, width = outside.shape[-2:]
    rows = reached_outputs(window.rows, layer.rows, height)
    columns = reached_outputs(window.columns, layer.columns, width)
    area = (rows[1] - rows[0]) * (columns[1] - columns[0])
    if not 0 < area <= FULL_SHARE * height * width:
        return None
    seen = window.within(read_inputs(rows, layer.rows), read_inputs(columns, layer.columns), pad=layer.pad)
    return Window(layer.run(seen), rows, columns, outside)


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer that reads a neighbourhood: how to run it without its padding, what it pads with, and its sizes."""

    run: Callable[[Tensor], Tensor]
    pad: float
    rows: Sizes
    columns: Sizes


def _describe(module: Any) -> _Layer | None:
    """Returns what windows need to know of a convolution or pooling; None for any other layer."""
    if isinstance(module, WinogradConv2d):
        return _Layer(module.valid, 0.0, *_both(3, 1, module.padding[2::-2], 1))
    if isinstance(module, nn.Conv2d) and module.padding_mode == "zeros" and not isinstance(module.padding, str):
        weights = {"weight": module.weight, "bias": module.bias, "groups": module.groups}
        run = partial(functional.conv2d, stride=module.stride, dilation=module.dilation, **weights)
        return _Layer(run, 0.0, *_both(module.kernel_size, module.stride, module.padding, module.dilation))
    if isinstance(module, nn.MaxPool2d) and not module.return_indices:  # ceil_mode reads past the map: padding
        sizes = {"kernel_size": module.kernel_size, "stride": module.stride, "dilation": module.dilation}
        lowest = float("-inf")
        sides = _both(module.kernel_size, module.stride, module.padding, module.dilation)
        return _Layer(partial(functional.max_pool2d, **sizes), lowest, *sides)
    if isinstance(module, nn.AvgPool2d) and not module.ceil_mode and module.padding in (0, (0, 0)):
        run = partial(functional.avg_pool2d, kernel_size=module.kernel_size, stride=module.stride)
        return _Layer(run, 0.0, *_both(module.kernel_size, module.stride, 0, 1))
    return None


def _both(*values: Any) -> tuple[Sizes, Sizes]:
    pairs = [value if isinstance(value, tuple) else (value, value) for value in values]
    return tuple(tuple(int(pair[side]) for pair in pairs) for side in (0, 1))  # pyright: ignore[reportReturnType]


def _whole(values: Any) -> Any:
    return map_aggregate(values, lambda value: value.whole() if isinstance(value, Window) else value)


def _overlap(first: Span, second: Span) -> Span:
    return max(first[0], second[0]), min(first[1], second[1])


def _shift(span: Span, offset: int) -> slice:
    return slice(span[0] + offset, max(span[1], span[0]) + offset)
