"""Receptive-field arithmetic along one side of a map: the outputs that an input span reaches, the inputs they read."""

Span = tuple[int, int]
"""Half-open range: first, one past the last."""

Sizes = tuple[int, int, int, int]
"""A layer's kernel, stride, padding and dilation along one side."""


def reached_outputs(inputs: Span, sizes: Sizes, num_outputs: int) -> Span:
    """Returns the outputs of a layer that read at least one position of `inputs`.

    Args:
        inputs: positions of the input map.
        sizes: sizes of the layer.
        num_outputs: positions of the output map.
    """
    kernel, stride, padding, dilation = sizes
    reach = dilation * (kernel - 1)
    # Output o reads from o * stride - padding to o * stride - padding + reach.
    first = -((reach - padding - inputs[0]) // stride)
    last = (inputs[1] - 1 + padding) // stride
    return max(first, 0), min(last + 1, num_outputs)


def read_inputs(outputs: Span, sizes: Sizes) -> Span:
    """Returns the input positions that `outputs` read, including those outside the map (negative, or past its end)."""
    kernel, stride, padding, dilation = sizes
    return outputs[0] * stride - padding, (outputs[1] - 1) * stride - padding + dilation * (kernel - 1) + 1
