"""Loads observers and teachers from a spec and a weights file, and matches their outputs to the source's classes."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from rded_core.errors import InputError
from rded_core.io.networks.heads import match_head, read_class_list, slice_head
from rded_core.io.networks.specs import is_weights_file, require_observer_spec, split_weights_spec
from rded_core.io.networks.state_names import has_auxiliary_heads
from rded_core.io.networks.weights import (
    head_width,
    head_width_by_shape,
    load_state,
    read_weights,
    require_finite,
    state_digest,
)
from rded_core.io.sources.base import SourceClass
from rded_core.io.sources.wordnet import imagenet_wnids
from rded_core.networks import build_network
from rded_core.networks.preprocessing import Preprocessing

UNUSUAL_WIDTH = 1003
"""A number of classes that no network has as the width of another layer."""

IMAGENET_WIDTH = 1000


@dataclass(frozen=True, slots=True)
class Observer:
    """A network in eval mode, once with all outputs of its head and once with only the source's classes.

    Patches are scored among all classes of the head, so that the scores of a class do not depend on which other
    classes the source has; images are labelled among the source's classes only.

    Attributes:
        network: frozen, channels last, with the head it was trained with.
        classifier: the same network with the source's class i as its output i.
        outputs: the output of `network` for each class of the source.
        preprocessing: its own, or ImageNet's if it specifies none.
        digest: SHA-256 over spec, weights and preprocessing, which together determine the logits and accuracy of
            `network`. (The same weights may fit two architectures.)
        head_note: how its head was matched to the source's classes.
        spec: as the user wrote it.
        facts: metadata in its weights file (``arch``, ``top1``, ...), for reports.
    """

    network: nn.Module
    classifier: nn.Module
    outputs: tuple[int, ...]
    preprocessing: Preprocessing
    digest: str
    head_note: str
    spec: str
    facts: dict[str, Any]


def open_observer(
    spec: str,
    weights: str | None,
    *,
    classes: Sequence[SourceClass],
    size: int,
    class_list: str | None = None,
) -> Observer:
    """Returns the network that `spec` names, with the source's classes matched to its outputs.

    Args:
        spec: ``torchvision:NAME``, ``timm:NAME``, ``rded:NAME`` or ``package.module:factory``; or a .safetensors file
            of our own, which names its network and is its own weights. A factory takes no argument and returns an
            ``nn.Module``, which may carry ``preprocessing`` (a dict with ``mean`` and ``std``) and ``classes`` (names
            or WordNet ids in head order).
        weights: .safetensors file, or a state dict that ``torch.load(weights_only=True)`` reads.
        classes: the source's classes in index order.
        size: side of its input images in pixels.
        class_list: file that names the head's classes, one per line; overrides all other names.

    Raises:
        InputError: the spec, a file or the head is not usable; the message gives the reason.
    """
    require_observer_spec(spec)
    weights = spec if weights is None and is_weights_file(spec) else weights
    state, facts = read_weights(weights) if weights else (None, {})
    spec = split_weights_spec(spec, weights, facts) if is_weights_file(spec) else spec
    kind, _, name = spec.partition(":")
    width = len(facts.get("classes", ())) or head_width(state) or _width_by_shape(spec, state) or len(classes)
    loader = {"torchvision": _from_torchvision, "timm": _from_timm, "rded": _from_rded}.get(kind, _from_factory)
    network, preprocessing, names = loader(spec, name, state is not None, num_classes=width, size=size)
    if state is not None:
        load_state(network, state, weights=str(weights), spec=f"{spec} at {size} px", made_for=facts.get("size"))
        require_finite(network.state_dict(), str(weights))
        _transform_as_published(network, state)
    preprocessing = _trained_with(facts) or preprocessing
    names = read_class_list(class_list) if class_list else tuple(facts["classes"]) if "classes" in facts else names
    network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    columns, note = match_head(names, _count_outputs(network, spec, size), classes)
    return Observer(
        network=network,
        classifier=slice_head(network, columns),
        outputs=tuple(range(len(classes)) if columns is None else columns),
        preprocessing=preprocessing,
        digest=state_digest(network.state_dict(), [spec, *_digest_settings(preprocessing)]),
        head_note=note,
        spec=spec,
        facts=facts,
    )


def _trained_with(facts: dict[str, Any]) -> Preprocessing | None:
    """Returns the preprocessing that a weights file of our own names."""
    if "mean" not in facts:
        return None
    return Preprocessing(tuple(facts["mean"]), tuple(facts["std"]), facts.get("size"), facts["interpolation"])


def _width_by_shape(spec: str, state: dict[str, torch.Tensor] | None) -> int | None:
    """Returns the width of the head in weights of a timm network whose head has another name than most."""
    kind, _, name = spec.partition(":")
    if state is None or kind != "timm":
        return None
    with torch.device("meta"):
        network, _, _ = _from_timm(spec, name, True, num_classes=UNUSUAL_WIDTH, size=0)
    return head_width_by_shape(network, UNUSUAL_WIDTH, state)


def _transform_as_published(network: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Lets GoogLeNet and Inception v3 transform their input if the weights are torchvision's published ones.

    Those were ported from TensorFlow, and are the files of 1000 outputs that hold auxiliary heads.
    """
    layer = getattr(network, "fc", None)
    if hasattr(network, "transform_input") and has_auxiliary_heads(state):
        network.transform_input = getattr(layer, "out_features", None) == IMAGENET_WIDTH


def _digest_settings(preprocessing: Preprocessing) -> tuple[Any, ...]:
    return preprocessing.mean, preprocessing.std, preprocessing.interpolation


def _count_outputs(network: nn.Module, spec: str, size: int) -> int:
    """Returns the number of outputs for one blank image; raises InputError if it cannot take images of this size."""
    try:
        with torch.inference_mode():
            logits = network(torch.zeros(1, 3, size, size))
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{spec} cannot take RGB images of {size} px ({reason}); give the --size it was made for"
        ) from error
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2:
        raise InputError(f"{spec} does not return one row of logits per image; give a classifier")
    return logits.shape[1]


def _from_rded(spec: str, name: str, has_weights: bool, *, num_classes: int, size: int) -> Any:
    network = build_network(name, num_classes=num_classes, size=size)
    if not has_weights:
        raise InputError(f"{spec} comes without weights; give --weights FILE (rded train-observer writes one)")
    return network, Preprocessing(), None


def _from_torchvision(spec: str, name: str, has_weights: bool, *, num_classes: int, size: int) -> Any:
    if has_weights:
        return build_network(name, num_classes=num_classes, size=size), Preprocessing(), None
    import torchvision  # late: it doubles the time that torch takes to import

    build_network(name, num_classes=num_classes, size=size)  # raises the error that lists the names
    weights: Any = torchvision.models.get_model_weights(name)["DEFAULT"]
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
        raise InputError(f"{spec} needs the package timm; pip install 'rded[timm]'") from error
    options: dict[str, Any] = {"num_classes": num_classes} if has_weights else {}
    try:
        network: Any = timm.create_model(name, pretrained=not has_weights, **options)
    except (RuntimeError, ValueError, OSError) as error:  # an unknown name, or a failed download
        raise InputError(f"{spec}: {str(error).splitlines()[0]}; see timm.list_models(), or give --weights") from error
    data = network.pretrained_cfg
    names = data.get("label_names")
    if not (names or has_weights) and data["num_classes"] == IMAGENET_WIDTH:
        names = imagenet_wnids()
    preprocessing = Preprocessing(tuple(data["mean"]), tuple(data["std"]), data["input_size"][1], data["interpolation"])
    return network, preprocessing, tuple(names) if names else None


def _from_factory(spec: str, name: str, has_weights: bool, *, num_classes: int, size: int) -> Any:
    del has_weights, num_classes, size
    module_name = spec.partition(":")[0]
    try:
        factory = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"observer {spec!r}: {error}; give torchvision:NAME, timm:NAME, rded:NAME, or package.module:factory with "
            "the module on PYTHONPATH"
        ) from error
    try:
        network = factory()
    except (ImportError, TypeError) as error:
        raise InputError(
            f"observer {spec!r} cannot be built: {error}; give a factory that takes no arguments"
        ) from error
    if not isinstance(network, nn.Module):
        raise InputError(f"observer {spec!r} returned {type(network).__name__}, not a torch.nn.Module; return a module")
    settings: dict[str, Any] = getattr(network, "preprocessing", None) or {}
    classes = getattr(network, "classes", None)
    try:
        tuples: dict[str, Any] = {key: tuple(settings[key]) for key in ("mean", "std") if key in settings}
        preprocessing = Preprocessing(**{**settings, **tuples})
    except TypeError as error:
        raise InputError(
            f"observer {spec!r}: invalid preprocessing ({error}); its keys may be mean, std, size, interpolation"
        ) from error
    return network, preprocessing, tuple(classes) if classes else None
