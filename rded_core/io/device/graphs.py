"""Functions of one fixed shape, recorded once and replayed where the device can."""

from collections.abc import Callable
from threading import Lock

import torch
from torch import Tensor

RECORDING = Lock()
"""Held while a graph is recorded: meanwhile no other may be, nor the allocator's cache be emptied, on any device."""


class FixedShape:
    """A function of tensors of one shape: on CUDA its kernels are recorded as a graph, elsewhere it is simply called.

    Made by one thread while no other uses the device: a recording takes note of everything that happens there. Other
    devices may work meanwhile, as they do where one records again, for a smaller shape.
    Called by one thread at a time: the recording has one input and one output.

    Args:
        function: without branches on values, and without side effects.
        example: zeros of the shape, on the device.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], example: Tensor) -> None:
        self.function = function
        self.given = self.found = example
        self.graph = self._record() if example.device.type == "cuda" else None

    def __call__(self, values: Tensor) -> Tensor:
        """Returns ``function(values)``."""
        if self.graph is None:
            return self.function(values)
        self.given.copy_(values)
        self.graph.replay()
        return self.found.clone()

    def _record(self) -> torch.cuda.CUDAGraph:
        """Records the function on a stream of the example's own device; torch's default one is on the first device."""
        with RECORDING, torch.inference_mode(), torch.cuda.device(self.given.device):
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):  # algorithms are chosen, and memory taken, before anything is recorded
                for _ in range(3):
                    self.function(self.given)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            # After a recording that fails torch may stay on `side`; the outer block goes back to the stream of before.
            with (
                torch.cuda.stream(torch.cuda.current_stream()),
                torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"),
            ):
                self.found = self.function(self.given)
            return graph
