"""Functions of one fixed shape, recorded once and replayed on devices that support it."""

from collections.abc import Callable
from threading import Lock

import torch
from torch import Tensor

RECORDING = Lock()
"""Held while a graph is recorded: no other may be recorded, nor the allocator's cache emptied, on any device."""


class FixedShape:
    """A function of tensors of one shape: recorded as a graph on CUDA, called directly elsewhere.

    Create it while no other thread uses the device, since a recording captures everything that happens there. Other
    devices may work meanwhile, as they do when one records again for a smaller shape.
    Call it from one thread at a time, since the recording has one input and one output.

    Args:
        function: without branches on values, and without side effects.
        example: zeros of the shape, on the device.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], example: Tensor) -> None:
        self.function = function
        self.input = self.output = example
        self.graph = self._record() if example.device.type == "cuda" else None

    def __call__(self, values: Tensor) -> Tensor:
        """Returns ``function(values)``."""
        if self.graph is None:
            return self.function(values)
        self.input.copy_(values)
        self.graph.replay()
        return self.output.clone()

    def _record(self) -> torch.cuda.CUDAGraph:
        """Records the function on a stream of the example's own device; torch's default stream is on device 0."""
        with RECORDING, torch.inference_mode(), torch.cuda.device(self.input.device):
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):  # algorithms are chosen and memory allocated before the recording
                for _ in range(3):
                    self.function(self.input)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            # After a failed recording torch may stay on `side`; the outer block restores the previous stream.
            with (
                torch.cuda.stream(torch.cuda.current_stream()),
                torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"),
            ):
                self.output = self.function(self.input)
            return graph
