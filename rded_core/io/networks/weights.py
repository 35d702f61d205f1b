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
    # save_file would create a file that only its owner can read
    data = save(tensors, metadata={"rded": json.dumps(described)})
    write_atomically(path, lambda temporary: temporary.write_bytes(data))


def read_weights(path: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Returns the tensors of a weights file, and the facts that `save_network` wrote to it (empty for other files).

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
        # torch's own message advises unpickling after all, so it is not shown.
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
    """Returns the number of classes in a state dict, from its last layer under the names of torchvision and timm."""
    heads = [value for name, value in (state or {}).items() if HEAD_NAME.search(name) and value.ndim in (2, 4)]
    return heads[-1].shape[0] if heads else None


def load_state(
    network: nn.Module, state: dict[str, Tensor], *, weights: str, spec: str, made_for: int | None = None
) -> None:
    """Loads every weight into the network; raises InputError with the first mismatch.

    `made_for` is the image size the weights were trained at, if their file records it.
    """
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]] or [str(error)]
        more = f" (and {counted(len(lines) - 1, 'more mismatch')})" if len(lines) > 1 else ""
        trained = f" (trained at --size {made_for})" if made_for else ""
        raise InputError(
            f"{weights} does not fit {spec}: {lines[0][:200]}{more}; give the network and size that it was "
            f"saved from{trained}"
        ) from error


def load_matching(network: nn.Module, path: str) -> list[str]:
    """Loads a weights file for further training; a head of a different width keeps its initial weights.

    Returns:
        The names of the weights that keep their initial values.

    Raises:
        InputError: a weight outside the head does not fit.
    """
    state, _ = read_weights(path)
    own = network.state_dict()
    heads = {name.rpartition(".")[0] for name in own if HEAD_NAME.search(name)}
    initial = [
        name
        for name, value in own.items()
        if name.rpartition(".")[0] in heads and name in state and state[name].shape != value.shape
    ]
    load_state(network, {**state, **{name: own[name] for name in initial}}, weights=path, spec="this --arch")
    return initial


def state_digest(state: dict[str, Tensor], settings: Sequence[object] = ()) -> str:
    """Returns the SHA-256 over `settings` and every weight's name, dtype, shape and bytes."""
    digest = hashlib.sha256(f"{list(settings)}\n".encode())
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name}\t{value.dtype}\t{tuple(value.shape)}\n".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return digest.hexdigest()
