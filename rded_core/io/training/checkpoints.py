"""Training that resumes where it stopped: its state after each epoch lies in one file next to the future weights."""

import json
import pickle
import struct
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rded_core.errors import InputError
from rded_core.io.storage.atomic import write_atomically
from rded_core.text.wording import counted


def save_checkpoint(
    out: Path, network: nn.Module, optimiser: torch.optim.Optimizer, *, run: dict[str, Any], num_epochs: int
) -> None:
    """Writes the state of network and optimiser after `num_epochs` epochs of the training that `run` describes."""
    state = {
        "run": json.dumps(run, sort_keys=True),
        "num_epochs": num_epochs,
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    write_atomically(_checkpoint_path(out), lambda temporary: torch.save(state, temporary))


def load_checkpoint(out: Path, network: nn.Module, optimiser: torch.optim.Optimizer, *, run: dict[str, Any]) -> int:
    """Restores a checkpoint and returns its number of epochs; 0 if it is missing or damaged.

    Raises:
        InputError: it belongs to a training with different settings or images.
    """
    try:
        state = torch.load(_checkpoint_path(out), map_location="cpu", weights_only=True)
        before = json.loads(state["run"])
    except (OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError, struct.error, pickle.UnpicklingError):
        return 0
    changed = [name for name in run if before.get(name) != json.loads(json.dumps(run[name]))]
    if changed:
        listed = ", ".join(f"{name} was {before.get(name)!r}, now {run[name]!r}" for name in changed)
        epochs = counted(state["num_epochs"], "epoch")
        raise InputError(
            f"{_checkpoint_path(out)} holds {epochs} of a different training ({listed}); "
            "give its settings to resume it, choose another --out, or delete it"
        )
    network.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["num_epochs"])


def drop_checkpoint(out: Path) -> None:
    """Removes the checkpoint, once the weights themselves are written."""
    _checkpoint_path(out).unlink(missing_ok=True)


def _checkpoint_path(out: Path) -> Path:
    return out.with_name(f"{out.name}.checkpoint")
