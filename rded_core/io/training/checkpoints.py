"""Training that goes on where it stopped: after each epoch its state lies in one file beside the weights to come."""

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
    """Writes network and optimiser as they are after `num_epochs` epochs of the training that `run` describes."""
    state = {
        "run": json.dumps(run, sort_keys=True),
        "num_epochs": num_epochs,
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    write_atomically(_place(out), lambda temporary: torch.save(state, temporary))


def load_checkpoint(out: Path, network: nn.Module, optimiser: torch.optim.Optimizer, *, run: dict[str, Any]) -> int:
    """Restores what `save_checkpoint` wrote; returns the epochs done, 0 where there is none or a damaged one.

    Raises:
        InputError: it belongs to a training with other settings or images.
    """
    try:
        state = torch.load(_place(out), map_location="cpu", weights_only=True)
        before = json.loads(state["run"])
    except (OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError, struct.error, pickle.UnpicklingError):
        return 0
    changed = [name for name in run if before.get(name) != json.loads(json.dumps(run[name]))]
    if changed:
        name = changed[0]
        epochs = counted(state["num_epochs"], "epoch")
        raise InputError(
            f"{_place(out)} holds {epochs} of another training ({name} was {before.get(name)!r}, "
            f"now {run[name]!r}); give its settings to go on with it, choose another --out, or delete it"
        )
    network.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["num_epochs"])


def drop_checkpoint(out: Path) -> None:
    """Removes the checkpoint, once the weights themselves are there."""
    _place(out).unlink(missing_ok=True)


def _place(out: Path) -> Path:
    return out.with_name(f"{out.name}.checkpoint")
