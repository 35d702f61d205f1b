"""Receptive fields against the inputs that convolutions really read."""

import pytest
import torch
from torch.nn import functional

from rded_core.networks.receptive_fields import reached_outputs, read_inputs

SIDE = 17
LAYERS = [
    (1, 1, 0, 1),
    (3, 1, 1, 1),
    (7, 2, 3, 1),
    (2, 2, 0, 1),
    (3, 2, 1, 1),
    (1, 2, 0, 1),
    (3, 1, 2, 2),
    (5, 3, 0, 1),
]


def _respond(inputs: torch.Tensor, sizes: tuple[int, int, int, int]) -> torch.Tensor:
    kernel, stride, padding, dilation = sizes
    weight = torch.ones(1, 1, kernel, dtype=torch.float64)
    return functional.conv1d(inputs.view(1, 1, -1), weight, stride=stride, padding=padding, dilation=dilation)[0, 0]


@pytest.mark.parametrize("sizes", LAYERS)
@pytest.mark.parametrize("span", [(0, 1), (4, 9), (8, 9), (12, 17), (0, 17)])
def test_reached_outputs_contain_all_that_change(span: tuple[int, int], sizes: tuple[int, int, int, int]) -> None:
    inputs = torch.zeros(SIDE, dtype=torch.float64)
    inputs[slice(*span)] = 1.0
    changed = _respond(inputs, sizes).nonzero().flatten().tolist()
    num_outputs = len(_respond(inputs, sizes))
    first, last = reached_outputs(span, sizes, num_outputs)
    assert set(changed) <= set(range(first, last)), "never too few"
    if sizes[3] == 1 and sizes[1] <= sizes[0]:
        assert list(range(first, last)) == changed


@pytest.mark.parametrize("sizes", LAYERS)
def test_read_inputs_are_all_that_outputs_need(sizes: tuple[int, int, int, int]) -> None:
    inputs = torch.rand(SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    kernel, stride, _, dilation = sizes
    whole = _respond(inputs, sizes)
    outputs = (1, len(whole) - 1)
    first, last = read_inputs(outputs, sizes)
    padded = torch.cat([torch.zeros(9), inputs, torch.zeros(9)])[first + 9 : last + 9]
    torch.testing.assert_close(_respond(padded, (kernel, stride, 0, dilation)), whole[slice(*outputs)])
