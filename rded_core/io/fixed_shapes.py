"""Functions of one fixed shape, recorded once and replayed where the device can."""

from collections.abc import Callable

import torch
from torch import Tensor


class FixedShape:
    """A function of tensors of one shape: on CUDA its kernels are recorded as a graph, elsewhere it is simply called.

    Not for several threads at once: the recording has one input and one output.

    Args:
        function: without branches on values, and without side effects.
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function
        self.graph: torch.cuda.CUDAGraph | None = None
        self.given = self.found = torch.empty(0)

    def __call__(self, values: Tensor) -> Tensor:
        """Returns ``function(values)``; float32 products stay float32."""
        if values.device.type != "cuda":
            return self.function(values)
        with torch.inference_mode():
            if self.graph is None:
                self._record(values)
            assert self.graph is not None
            self.given.copy_(values)
            self.graph.replay()
            return self.found.clone()

    def _record(self, values: Tensor) -> None:
        with torch.cuda.device(values.device):
            self.given = values.clone()
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):  # algorithms are chosen, and memory taken, before anything is recorded
                for _ in range(3):
                    self.function(self.given)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self.found = self.function(self.given)
            self.graph = graph
