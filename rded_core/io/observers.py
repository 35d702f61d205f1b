"""Observers and teachers: a spec string and a weights file become a network with its preprocessing and classes."""

import hashlib
import importlib
import json
import pickle
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rded_core.errors import InputError
from rded_core.io.files import write_atomically
from rded_core.io.sources import SourceClass
from rded_core.io.wordnet import imagenet_names, imagenet_wnids, wnid_of
from rded_core.networks import build_network

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HEAD_NAME = re.compile(r"(^|\.)(fc|head|last_linear|classifier(\.\d+)?)\.weight$")


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What a network expects of float RGB 0..1 images: mean and std per channel, and how it was evaluated."""

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    size: int | None = None
    interpolation: str = "bilinear"


@dataclass(frozen=True, slots=True)
class LoadedNetwork:
    """A network in eval mode as its weights define it.

    Attributes:
        network: on the CPU, channels last.
        preprocessing: its own, or ImageNet's where nothing says otherwise.
        classes: names or WordNet ids in head order, or None where nobody knows.
        digest: SHA-256 over every weight's name, dtype, shape and bytes.
        facts: what the weights file says of itself (accuracy, source), for reports.
    """

    network: nn.Module
    preprocessing: Preprocessing
    classes: tuple[str, ...] | None
    digest: str
    facts: dict[str, Any]


def load_network(spec: str, weights: str | None, *, num_classes: int, size: int) -> LoadedNetwork:
    """Loads the network that `spec` names.

    Args:
        spec: ``torchvision:NAME``, ``timm:NAME``, ``rded:NAME`` or ``package.module:factory``. A factory takes no
            argument and returns an ``nn.Module``, which may carry ``preprocessing`` (a dict with ``mean`` and
            ``std``) and ``classes`` (a list in head order).
        weights: .safetensors file or a state dict that ``torch.load(weights_only=True)`` reads; nothing is unpickled.
        num_classes: width of the head where neither spec nor file says it.
        size: side of the images it will see.

    Raises:
        InputError: spec or file cannot be used, with the reason.
    """
    state, facts = _read_weights(weights) if weights else (None, {})
    kind, separator, name = spec.partition(":")
    if not separator or not name:
        raise InputError(f"observer {spec!r} is no spec; use torchvision:NAME, timm:NAME, rded:NAME or package.module:factory")
    width = len(facts.get("classes", ())) or _head_width(state) or num_classes
    loader = {"torchvision": _from_torchvision, "timm": _from_timm, "rded": _from_rded}.get(kind, _from_factory)
    network, preprocessing, classes = loader(spec, name, state is not None, num_classes=width, size=size)
    if state is not None:
        _load_state(network, state, weights=str(weights), spec=spec)
    if "mean" in facts:
        preprocessing = Preprocessing(tuple(facts["mean"]), tuple(facts["std"]), facts.get("size"), facts["interpolation"])
    if "classes" in facts:
        classes = tuple(facts["classes"])
    network.eval().requires_grad_(False)
    return LoadedNetwork(
        network.to(memory_format=torch.channels_last), preprocessing, classes, _digest(network.state_dict()), facts
    )


def save_network(network: nn.Module, path: Path, *, preprocessing: Preprocessing, facts: dict[str, Any]) -> None:
    """Writes weights with their preprocessing and `facts` (at least ``arch`` and ``classes``) to .safetensors."""
    described = {**asdict(preprocessing), **facts}
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in network.state_dict().items()}
    write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata={"rded": json.dumps(described)}))


def match_head(
    classes: tuple[str, ...] | None, head_width: int, wanted: Sequence[SourceClass]
) -> tuple[list[int] | None, str]:
    """Finds which outputs of a head are the source's classes.

    Args:
        classes: the head's classes in order, names or WordNet ids, where known.
        head_width: number of outputs.
        wanted: the source's classes in index order.

    Returns:
        The outputs to keep, in the source's order (None: the head as it is), and a sentence that says how they were
        found.

    Raises:
        InputError: the match is not certain.
    """
    if head_width < len(wanted):
        raise InputError(
            f"the observer has {head_width} classes, the source {len(wanted)}; keep some with --classes, "
            "or train an observer on this source with rded train-observer"
        )
    if classes is None and head_width == 1000 and all(label.wnid in imagenet_wnids() for label in wanted):
        classes = imagenet_wnids()
    if classes is None:
        if head_width == len(wanted):
            return None, f"the observer names no classes: its {head_width} outputs are taken in the source's order"
        raise InputError(
            f"the observer has {head_width} outputs and names none of them, the source has {len(wanted)} classes; "
            "give --observer-classes FILE with one name or WordNet id a line, in head order"
        )
    if len(classes) != head_width:
        raise InputError(f"{len(classes)} observer classes are given for a head of {head_width} outputs; they must agree")
    columns = _match_names(classes, wanted)
    if columns == list(range(head_width)):
        return None, f"all {head_width} classes match the observer's, in the same order"
    return columns, f"{len(columns)} of the observer's {head_width} outputs match the source's classes by name or WordNet id"


def slice_head(network: nn.Module, columns: list[int] | None) -> nn.Module:
    """Returns the network with only the head's outputs `columns`, in that order; all of them for None."""
    if columns is None:
        return network
    return _SlicedHead(network, torch.tensor(columns)).eval()


def read_class_list(path: str) -> tuple[str, ...]:
    """Reads one class a line, in head order; blank lines are left out."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the class list {path}: {error}") from error
    return tuple(line.strip() for line in lines if line.strip())


class _SlicedHead(nn.Module):
    def __init__(self, network: nn.Module, columns: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("columns", columns)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images).index_select(1, self.columns)


def _match_names(classes: tuple[str, ...], wanted: Sequence[SourceClass]) -> list[int]:
    places: dict[str, set[int]] = {}
    known = imagenet_names() if any(wnid_of(name) for name in classes) else {}
    for index, name in enumerate(classes):
        for alias in {_plain(name), _plain(known.get(name, name))}:
            places.setdefault(alias, set()).add(index)
    columns: list[int] = []
    unsure: list[str] = []
    for label in wanted:
        by_id = places.get(_plain(label.wnid), set()) if label.wnid else set[int]()
        found = by_id or places.get(_plain(label.folder), set()) or places.get(_plain(label.name), set())
        if len(found) == 1:
            columns.append(next(iter(found)))
        else:
            unsure.append(f"{label.folder} ({'no match' if not found else f'{len(found)} matches'})")
    if unsure or len(set(columns)) != len(columns):
        detail = ", ".join(unsure[:10]) or "two classes match the same output"
        raise InputError(
            f"cannot match the source's classes to the observer's {len(classes)}: {detail}; the observer's begin with "
            f"{', '.join(classes[:3])}; rename folders, or give --observer-classes FILE in head order"
        )
    return columns


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


def _from_rded(spec: str, name: str, has_weights: bool, *, num_classes: int, size: int) -> Any:
    if not has_weights:
        raise InputError(f"{spec} comes without weights; give --weights FILE (rded train-observer writes one)")
    return build_network(name, num_classes=num_classes, size=size), Preprocessing(), None


def _from_torchvision(spec: str, name: str, has_weights: bool, *, num_classes: int, size: int) -> Any:
    if has_weights:
        return build_network(name, num_classes=num_classes, size=size), Preprocessing(), None
    build_network(name, num_classes=num_classes, size=size)  # the error that lists the names
    weights = torchvision.models.get_model_weights(name).DEFAULT
    transform = weights.transforms()
    try:
        network = torchvision.models.get_model(name, weights=weights)
    except OSError as error:
        raise InputError(
            f"{spec}: its pretrained weights cannot be downloaded ({error}); give --weights FILE with a state dict"
        ) from error
    preprocessing = Preprocessing(
        tuple(transform.mean), tuple(transform.std), transform.crop_size[0], transform.interpolation.value
    )
    return network, preprocessing, tuple(weights.meta["categories"])


def _from_timm(spec: str, name: str, has_weights: bool, *, num_classes: int, size: int) -> Any:
    del size
    try:
        import timm
    except ImportError as error:
        raise InputError(f"{spec} needs the extra: pip install 'rded[timm]'") from error
    try:
        network = timm.create_model(name, pretrained=not has_weights, **({"num_classes": num_classes} if has_weights else {}))
    except (RuntimeError, ValueError, OSError) as error:  # an unknown name, or a download that failed
        raise InputError(f"{spec}: {str(error).splitlines()[0]}; see timm.list_models(), or give --weights FILE") from error
    data = network.pretrained_cfg
    names = data.get("label_names")
    preprocessing = Preprocessing(tuple(data["mean"]), tuple(data["std"]), data["input_size"][1], data["interpolation"])
    return network, preprocessing, tuple(names) if names else None


def _from_factory(spec: str, name: str, has_weights: bool, *, num_classes: int, size: int) -> Any:
    del has_weights, num_classes, size
    module_name = spec.partition(":")[0]
    try:
        factory = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"observer {spec!r}: {error}; give torchvision:NAME, timm:NAME, rded:NAME, or package.module:factory with the "
            "module importable from here (PYTHONPATH)"
        ) from error
    network = factory()
    if not isinstance(network, nn.Module):
        raise InputError(f"observer {spec!r} returned {type(network).__name__}, not a torch.nn.Module")
    given = getattr(network, "preprocessing", None) or {}
    classes = getattr(network, "classes", None)
    return network, Preprocessing(**{key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}), (
        tuple(classes) if classes else None
    )


def _read_weights(path: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not Path(path).is_file():
        raise InputError(f"no such weights file: {path}")
    try:
        if path.endswith(".safetensors"):
            with safe_open(path, framework="pt") as opened:
                facts = json.loads((opened.metadata() or {}).get("rded", "{}"))
            return load_file(path), facts
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path} holds no weights that can be read safely ({reason}); expected .safetensors, or a plain state dict"
        ) from error
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path} holds no state dict (a mapping from names to tensors)")
    return {name.removeprefix("module."): value for name, value in state.items()}, {}


def _head_width(state: dict[str, Tensor] | None) -> int | None:
    """Reads the number of classes off the last layer of a state dict, by the names torchvision and timm give it."""
    heads = [value for name, value in (state or {}).items() if HEAD_NAME.search(name) and value.ndim in (2, 4)]
    return heads[-1].shape[0] if heads else None


def _load_state(network: nn.Module, state: dict[str, Tensor], *, weights: str, spec: str) -> None:
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]] or [str(error)]
        more = f" (and {len(lines) - 1} more faults)" if len(lines) > 1 else ""
        raise InputError(f"{weights} does not fit {spec}: {lines[0][:200]}{more}; name the network it was saved from") from error


def _digest(state: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name}\t{value.dtype}\t{tuple(value.shape)}\n".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return digest.hexdigest()
