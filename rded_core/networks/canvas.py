"""The observer applied to patches in the middle of a zero canvas, most of which need not be computed.

Away from the patch, every early layer's activations are constants of the network. They are recorded once with an empty
canvas; after that each layer computes only the box that the patch can reach, and takes the rest from the record. If
the box fills the map, or an operation is not supported, the whole map is assembled and the network continues as usual.
On the CPU, 3 x 3 convolutions with many channels are computed with fewer multiplications (`winograd`).
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate
from torch.nn import functional

from rded_core.errors import InputError
from rded_core.networks.canvas_windows import Window, joined, local, pointwise
from rded_core.networks.receptive_fields import Span
from rded_core.networks.tracing import SUMS, trace, use_winograd
from rded_core.patches.realism import pad_to_canvas

PROBE_TOLERANCE = 1e-4
"""Largest difference of logits, as a share of their spread, that the check on construction accepts."""

POINTWISE_MODULES = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.GELU, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.Tanh,
    nn.Dropout, nn.Identity, nn.BatchNorm2d,
)  # fmt: skip
POINTWISE_FUNCTIONS = (torch.relu, functional.relu, functional.relu6, functional.silu, torch.sigmoid)


class CanvasNetwork(nn.Module):
    """A frozen classifier for patches: the logits of ``network(pad_to_canvas(patches, size))``, with less work.

    Construct it in one thread while no other runs a network (fx replaces ``nn.Module.__call__`` during tracing); any
    number of threads may use it. BatchNorm is folded into convolutions. If torch.fx cannot trace the network, or the
    traced form fails a check against the original on random patches, the plain network is used unchanged; `shortcut` is
    False then.

    Args:
        network: in eval mode; it is not changed.
        patch_px: side of the patches.
        size: side of the canvas.
        dtype: dtype of the arithmetic; patches and logits remain float32.

    Source: receptive-field arithmetic; logits agree with the plain network's within 1e-5 of the largest (tests/parity).
    """

    def __init__(self, network: nn.Module, *, patch_px: int, size: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.network = network
        self.size = size
        self.dtype = torch.float32
        start = (size - patch_px) // 2
        self.place: Span = (start, start + patch_px)
        self.traced: fx.GraphModule | None = trace(network)
        self.outside: dict[str, Tensor] = {}
        if self.traced is not None and dtype == torch.float32:
            use_winograd(self.traced)
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
        """Records the empty canvas and returns whether the traced network agrees with the plain one."""
        assert self.traced is not None
        patches = torch.rand(2, 3, patch_px, patch_px, generator=torch.Generator().manual_seed(0)) * 4.0 - 2.0
        for parameter in self.network.parameters():
            patches = patches.to(parameter.device, parameter.dtype)
        self.shortcut = True
        with torch.inference_mode():
            try:
                self._record(patches)
                logits = self._run(patches)
            except torch.OutOfMemoryError:
                raise
            except Exception:  # any code may be traced wrongly: the plain network, run below, is the reference
                logits = None
            expected = self._plain(patches)
        spread = float(expected.std()) or 1.0
        if logits is None or logits.shape != expected.shape:
            return False
        return float((logits - expected).abs().max()) <= PROBE_TOLERANCE * spread

    def _record(self, like: Tensor) -> None:
        """Records every map of an empty canvas, on the device and in the dtype of `like`."""
        assert self.traced is not None
        if self.place != (0, self.size):
            recorder = _Recorder(self.traced)
            recorder.run(like.new_zeros(1, 3, self.size, self.size))
            self.outside = recorder.outputs

    def _round_to(self, dtype: torch.dtype) -> None:
        """Converts weights and the empty canvas's maps to another dtype; the original network is copied first.

        Raises:
            InputError: the network does not run in this dtype; some convert to float32 halfway.
        """
        self.dtype = dtype
        example = next(self.network.parameters())
        side = self.place[1] - self.place[0]
        try:
            with torch.inference_mode():
                if self.shortcut and self.traced is not None:
                    self.traced = self.traced.to(dtype)
                    self._record(next(self.traced.parameters()))
                else:
                    self.network = deepcopy(self.network).to(dtype)
                self(torch.zeros(2, 3, side, side, device=example.device))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"the observer does not run in bfloat16 ({reason}); pass --precision float32") from error


class _Recorder(fx.Interpreter):
    """Runs the network on one empty canvas and records every map."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.outputs: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor) and result.ndim == 4:
            self.outputs["canvas" if n.op == "placeholder" else n.name] = result.clone()
        return result


class _Interpreter(fx.Interpreter):
    """Runs the network on windows; one instance per call, since it holds the call's values."""

    def __init__(self, module: fx.GraphModule, outside: Mapping[str, Tensor]) -> None:
        super().__init__(module)
        self.outside = outside

    def run_node(self, n: fx.Node) -> Any:
        if n.op in ("call_module", "call_function") and n.name in self.outside:
            arguments, options = self.fetch_args_kwargs_from_env(n)
            window = self._on_windows(n, arguments, options)
            if window is not None:
                return window
        return super().run_node(n)

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return super().call_module(target, _whole(args), _whole(kwargs))

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return super().call_function(target, _whole(args), _whole(kwargs))

    def call_method(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return super().call_method(target, _whole(args), _whole(kwargs))

    def _on_windows(self, n: fx.Node, arguments: tuple[Any, ...], options: dict[str, Any]) -> Window | None:
        """Returns the node's window, or None if it must be computed on whole maps."""
        outside = self.outside[n.name]
        if n.op == "call_module":
            module = self.fetch_attr(str(n.target))
            if len(arguments) != 1 or options or not isinstance(arguments[0], Window):
                return None
            if isinstance(module, POINTWISE_MODULES):
                return pointwise(module, arguments[0], outside)
            return local(module, arguments[0], outside)
        function: Any = n.target
        if function in POINTWISE_FUNCTIONS and isinstance(arguments[0], Window):
            return pointwise(lambda values: function(values, *arguments[1:], **options), arguments[0], outside)
        if function in SUMS and len(arguments) == 2 and not options:
            return joined(lambda parts: parts[0] + parts[1], arguments, outside)
        if function is torch.cat and (arguments[1:] == (1,) or options == {"dim": 1}):
            return joined(lambda parts: torch.cat(parts, dim=1), arguments[0], outside)
        return None


def _whole(values: Any) -> Any:
    return map_aggregate(values, lambda value: value.whole() if isinstance(value, Window) else value)
