"""Checkpoints of trainings: resumed by the same training only."""

from pathlib import Path

import pytest
import torch
from torch import nn

from rded_core.errors import InputError
from rded_core.io.training.checkpoints import load_checkpoint, save_checkpoint


def test_all_differences_of_another_training_are_named(tmp_path: Path) -> None:
    network = nn.Linear(2, 2)
    optimiser = torch.optim.SGD(network.parameters())
    out, run = tmp_path / "o.safetensors", {"epochs": 2, "lr": 0.1, "flip": True}
    save_checkpoint(out, network, optimiser, run=run, num_epochs=1)
    assert load_checkpoint(out, network, optimiser, run=run) == 1
    message = r"holds 1 epoch of a different training \(epochs was 2, now 3, flip was True, now False\); give"
    with pytest.raises(InputError, match=message):
        load_checkpoint(out, network, optimiser, run={**run, "epochs": 3, "flip": False})
