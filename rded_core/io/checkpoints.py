"""Training that goes on where it stopped: after each epoch its state lies in one file beside the weights to come."""

import pickle
import struct
from pathlib import Path

import torch
from torch import nn

from rded_core.io.files import write_atomically


def save_checkpoint(
    out: Path, network: nn.Module, optimiser: torch.optim.Optimizer, *, run: str, num_epochs: int
) -> None:
    """Writes network and optimiser as they are after `num_epochs` epochs of the training with digest `run`."""
    state = {
        "run": run,
        "num_epochs": num_epochs,
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    write_atomically(_place(out), lambda temporary: torch.save(state, temporary))


def load_checkpoint(out: Path, network: nn.Module, optimiser: torch.optim.Optimizer, *, run: str) -> int:
    """Restores what `save_checkpoint` wrote for this very `run`; returns the epochs done, 0 where there is nothing."""
    try:
        state = torch.load(_place(out), map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, LookupError, struct.error, pickle.UnpicklingError):
        return 0  # absent, or damaged
    if not isinstance(state, dict) or state.get("run") != run:
        return 0
    network.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["num_epochs"])


def drop_checkpoint(out: Path) -> None:
    """Removes the checkpoint, once the weights themselves are there."""
    _place(out).unlink(missing_ok=True)


def _place(out: Path) -> Path:
    return out.with_name(f"{out.name}.checkpoint")
