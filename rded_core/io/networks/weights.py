"""Weights files: safetensors or plain state dicts, never unpickled."""

import hashlib
import json
import pickle
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from rded_core.errors import InputError
from rded_core.io.storage.atomic import write_atomically
from rded_core.io.storage.files import require_file
from rded_core.networks.preprocessing import Preprocessing
from rded_core.text.wording import counted

HEAD_NAME = re.compile(r"(^|\.)(fc|head|last_linear|classifier(\.\d+)?)\.weight$")


def save_network(network: nn.Module, path: Path, *, preprocessing: Preprocessing, facts: dict[str, Any]) -> None:
    """Writes weights with their preprocessing and `facts` (at least ``arch`` and ``classes``) to .safetensors."""
    described = {**asdict(preprocessing), **facts}
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in network.state_dict().items()}
    data = save(
        tensors, metadata={"rded": json.dumps(described)}
    )  # save_file would make a file only its owner can read
    write_atomically(path, lambda temporary: temporary.write_bytes(data))


def read_weights(path: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads a weights file: its tensors, and what `save_network` noted in it (nothing for other files).

    Raises:
        InputError: missing, damaged, or not readable without unpickling.
    """
    require_file(path, "weights file")
    try:
        if path.endswith(".safetensors"):
            with safe_open(path, framework="pt") as opened:
                facts = json.loads((opened.metadata() or {}).get("rded", "{}"))
            return load_file(path), facts
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, LookupError, pickle.UnpicklingError) as error:
        # torch's own text advises to unpickle after all: it stays out of the message.
        reason = "it needs unpickling" if isinstance(error, pickle.UnpicklingError) else _first_line(error)
        raise InputError(
            f"{path} holds no weights that can be read safely ({reason}); expected .safetensors, or a plain state dict "
            "saved by torch.save(network.state_dict(), FILE)"
        ) from error
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path} holds no state dict (a mapping from names to tensors)")
    return {name.removeprefix("module."): value for name, value in state.items()}, {}


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def head_width(state: dict[str, Tensor] | None) -> int | None:
    """Reads the number of classes off the last layer of a state dict, by the names torchvision and timm give it."""
    heads = [value for name, value in (state or {}).items() if HEAD_NAME.search(name) and value.ndim in (2, 4)]
    return heads[-1].shape[0] if heads else None


def load_state(
    network: nn.Module, state: dict[str, Tensor], *, weights: str, spec: str, made_for: int | None = None
) -> None:
    """Loads every weight into the network; raises InputError with the first misfit.

    `made_for` is the image size the weights were trained at, where their file says it.
    """
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]] or [str(error)]
        more = f" (and {counted(len(lines) - 1, 'more fault')})" if len(lines) > 1 else ""
        trained = f" (they were trained at --size {made_for})" if made_for else ""
        raise InputError(
            f"{weights} does not fit {spec}: {lines[0][:200]}{more}; name the network and size it was saved "
            f"from{trained}"
        ) from error


def load_matching(network: nn.Module, path: str) -> list[str]:
    """Loads a weights file for further training; a head of another width keeps its fresh weights.

    Returns:
        The names that were left as they are.

    Raises:
        InputError: anything but the head does not fit.
    """
    state, _ = read_weights(path)
    own = network.state_dict()
    heads = {name.rpartition(".")[0] for name in own if HEAD_NAME.search(name)}
    fresh = [
        name
        for name, value in own.items()
        if name.rpartition(".")[0] in heads and name in state and state[name].shape != value.shape
    ]
    load_state(network, {**state, **{name: own[name] for name in fresh}}, weights=path, spec="this --arch")
    return fresh


def state_digest(state: dict[str, Tensor], settings: Sequence[object] = ()) -> str:
    """Returns the SHA-256 over every weight's name, dtype, shape and bytes, and over whatever else is in `settings`."""
    digest = hashlib.sha256(f"{list(settings)}\n".encode())
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name}\t{value.dtype}\t{tuple(value.shape)}\n".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return digest.hexdigest()
