"""Weights files: safetensors or plain state dicts, never unpickled."""

import hashlib
import json
import pickle
import re
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from rded_core.errors import InputError
from rded_core.io.networks.state_names import find_state, fit_names, is_empty_state
from rded_core.io.storage.atomic import write_atomically
from rded_core.io.storage.files import require_file
from rded_core.io.storage.stand_ins import stand_in_at
from rded_core.networks.preprocessing import Preprocessing
from rded_core.text.wording import counted

HEAD_NAME = re.compile(r"(^|\.)(fc|head|last_linear|classifier(\.\d+)?)\.weight$")

UNSAFE_TYPE = re.compile(r"GLOBAL ([\w.]+)")
"""The type in torch's message that a file is not of weights alone."""

UNREADABLE = (
    SafetensorError, OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError,
    pickle.UnpicklingError,
)  # fmt: skip
"""Errors of files that are damaged, or hold something else than weights."""

HEADER_START = 9
"""Bytes at the start of a .safetensors file: the length of its header, and the header's first brace."""

MAX_SHOWN = 5
"""Keys of a file that an error names."""


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
        InputError: missing, empty, damaged, or not readable without unpickling.
    """
    require_file(path, "weights file")
    try:
        loaded, facts = _load(path)
    except UNREADABLE as error:
        if found := stand_in_at(path):
            raise InputError(f"{path} holds no weights: {found}") from error
        raise InputError(
            f"{path} holds no weights that can be read safely ({_why_unreadable(error)}); expected .safetensors, or a "
            "plain state dict saved by torch.save(network.state_dict(), FILE)"
        ) from error
    state = find_state(loaded)
    if state is None and is_empty_state(loaded):
        raise InputError(f"{path} holds no weights: its state dict is empty; save that of the trained network")
    if state is None:
        raise InputError(
            f"{path} holds no state dict (a mapping from names to tensors){_describe_keys(loaded)}; save one by "
            "torch.save(network.state_dict(), FILE)"
        )
    return state, facts


def _load(path: str) -> tuple[object, dict[str, Any]]:
    """Returns what a weights file holds, and the facts in the header of a .safetensors file."""
    if path.endswith(".safetensors") or _begins_as_safetensors(path):
        with safe_open(path, framework="pt") as opened:
            facts = json.loads((opened.metadata() or {}).get("rded", "{}"))
        return load_file(path), facts
    with torch.serialization.safe_globals([Namespace]):
        return torch.load(path, map_location="cpu", weights_only=True), {}


def _begins_as_safetensors(path: str) -> bool:
    """Whether a file is safetensors by its content: links to files of Hugging Face's cache have no ending."""
    with Path(path).open("rb") as stream:
        start = stream.read(HEADER_START)
    return start[-1:] == b"{" and 0 < int.from_bytes(start[:-1], "little") < Path(path).stat().st_size


def require_finite(state: Mapping[str, Tensor], weights: str) -> None:
    """Raises InputError if a number in a state dict is not finite."""
    wrong = [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if wrong:
        raise InputError(
            f"{weights} holds numbers that are not finite ({', '.join(wrong[:MAX_SHOWN])}): its training diverged, or "
            "the file is damaged; use another checkpoint"
        )


def _why_unreadable(error: Exception) -> str:
    """Returns the reason in words; torch's own message advises unpickling after all, so only the type is kept of it."""
    if not isinstance(error, pickle.UnpicklingError):
        return _first_line(error)
    found = UNSAFE_TYPE.search(str(error))
    return f"it needs unpickling, of {found[1]}" if found else "it needs unpickling"


def _describe_keys(loaded: object) -> str:
    if not isinstance(loaded, dict):
        return ""
    keys: list[str] = [str(key) for key in cast("dict[Any, Any]", loaded)]
    return f", only {', '.join(keys[:MAX_SHOWN])}{' ...' if len(keys) > MAX_SHOWN else ''}"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def head_width(state: dict[str, Tensor] | None) -> int | None:
    """Returns the number of classes in a state dict, from its last layer under the names of torchvision and timm."""
    heads = [value for name, value in (state or {}).items() if HEAD_NAME.search(name) and value.ndim in (2, 4)]
    return heads[-1].shape[0] if heads else None


def head_width_by_shape(unsure: nn.Module, unsure_width: int, state: dict[str, Tensor]) -> int | None:
    """Returns the number of classes in a state dict, from a network of the same kind with a head of its own width.

    `unsure_width` must be a number that no other layer has; the head is what has it.
    """
    own = {name: value.shape for name, value in unsure.state_dict().items()}
    fitting = fit_names(own, state)
    heads = [name for name, shape in own.items() if shape[:1] == (unsure_width,) and name in fitting]
    return next((fitting[name].shape[0] for name in heads), None)


def load_state(
    network: nn.Module, state: dict[str, Tensor], *, weights: str, spec: str, made_for: int | None = None
) -> None:
    """Loads every weight into the network, by the names below all wrappers; raises InputError if they do not fit.

    `made_for` is the image size the weights were trained at, if their file records it.
    """
    state = fit_names(network.state_dict(), state)
    try:
        mismatch = network.load_state_dict(state, strict=False)
        problem = _name_both(mismatch.missing_keys, mismatch.unexpected_keys)
    except RuntimeError as error:
        problem = _first_mismatch(str(error))
    if problem:
        trained = f" (trained at --size {made_for})" if made_for else ""
        raise InputError(
            f"{weights} does not fit {spec}: {problem}; give the network and size that it was saved from{trained}"
        )


def _name_both(missing: list[str], unexpected: list[str]) -> str:
    """Returns a missing and an unexpected name side by side, with how many more there are; empty if all fit."""
    sides = (("the network needs", missing), ("the file has", unexpected))
    return ", ".join(
        f"{side} {names[0]}" + (f" (and {len(names) - 1} more)" if len(names) > 1 else "")
        for side, names in sides
        if names
    )


def _first_mismatch(message: str) -> str:
    lines = [line.strip() for line in message.splitlines()[1:]] or [message]
    sizes = [line for line in lines if line.startswith("size mismatch")] or lines
    more = f" (and {counted(len(lines) - 1, 'more mismatch')})" if len(lines) > 1 else ""
    return f"{sizes[0][:200]}{more}"


def load_matching(network: nn.Module, path: str) -> list[str]:
    """Loads a weights file for further training; a head of a different width keeps its initial weights.

    Returns:
        The names of the weights that keep their initial values.

    Raises:
        InputError: a weight outside the head does not fit.
    """
    state, _ = read_weights(path)
    own = network.state_dict()
    state = fit_names(own, state)
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
