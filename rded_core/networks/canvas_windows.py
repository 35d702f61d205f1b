"""Maps that differ from a constant only inside a box, and layers that compute only that box."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rded_core.networks.receptive_fields import Sizes, Span, reached_outputs, read_inputs
from rded_core.networks.winograd import WinogradConv2d

FULL_SHARE = 0.85
"""A window covering more of its map than this is computed as the whole map: cutting it out would cost more."""


@dataclass(frozen=True, slots=True)
class Window:
    """A batch of maps that differ from a constant only inside a box.

    Attributes:
        values: b c h w, the maps inside the box.
        rows: rows of the map that the box covers, half-open.
        columns: columns, likewise.
        outside: 1 c H W, the constant map.
    """

    values: Tensor
    rows: Span
    columns: Span
    outside: Tensor

    def within(self, rows: Span, columns: Span, *, pad: float = 0.0) -> Tensor:
        """Returns the maps over another box, which may extend beyond the map; `pad` fills that part."""
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
        """Returns the complete maps."""
        height, width = self.outside.shape[-2:]
        return self.within((0, height), (0, width))


def pointwise(function: Callable[[Tensor], Tensor], window: Window, outside: Tensor) -> Window:
    return Window(function(window.values), window.rows, window.columns, outside)


def joined(function: Callable[[list[Tensor]], Tensor], parts: Any, outside: Tensor) -> Window | None:
    """Adds or concatenates windows of maps of one size, over the smallest box that contains them all."""
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


def local(module: Any, window: Window, outside: Tensor) -> Window | None:
    """Computes only the outputs of a convolution or pooling that the patch can reach."""
    layer = _describe(module)
    if layer is None:
        return None
    height, width = outside.shape[-2:]
    rows = reached_outputs(window.rows, layer.rows, height)
    columns = reached_outputs(window.columns, layer.columns, width)
    area = (rows[1] - rows[0]) * (columns[1] - columns[0])
    if not 0 < area <= FULL_SHARE * height * width:
        return None
    inputs = window.within(read_inputs(rows, layer.rows), read_inputs(columns, layer.columns), pad=layer.pad)
    return Window(layer.run(inputs), rows, columns, outside)


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer that reads a neighbourhood: how to run it without padding, its padding value, and its sizes."""

    run: Callable[[Tensor], Tensor]
    pad: float
    rows: Sizes
    columns: Sizes


def _describe(module: Any) -> _Layer | None:
    """Returns a convolution or pooling as windows use it; None for any other layer."""
    if isinstance(module, WinogradConv2d):
        return _Layer(module.valid, 0.0, *_both(3, 1, module.padding[2::-2], 1))
    if isinstance(module, nn.Conv2d) and module.padding_mode == "zeros" and not isinstance(module.padding, str):
        weights = {"weight": module.weight, "bias": module.bias, "groups": module.groups}
        run = partial(functional.conv2d, stride=module.stride, dilation=module.dilation, **weights)
        return _Layer(run, 0.0, *_both(module.kernel_size, module.stride, module.padding, module.dilation))
    if isinstance(module, nn.MaxPool2d) and not module.return_indices:  # with ceil_mode it reads past the map: padding
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


def _overlap(first: Span, second: Span) -> Span:
    return max(first[0], second[0]), min(first[1], second[1])


def _shift(span: Span, offset: int) -> slice:
    return slice(span[0] + offset, max(span[1], span[0]) + offset)
