"""The labelling network together with the codec that stores what it gives."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from rded_core.config.distill import DistillConfig
from rded_core.errors import InputError
from rded_core.io.device.devices import resolve_device
from rded_core.labels.codecs import Codec, find_codec
from rded_core.networks.last_layer import SplitNetwork, split_last_layer
from rded_core.seeds import counter_generator
from rded_core.training.protocols import TEMPERATURES
from tasks.networks import fast_form, load_planned
from tasks.prepare import RunPlan

MOST_CLASSES_IN_HALF = 200
"""With more classes, ``auto`` stores 8 bits a logit: half the bytes, and next to nothing lost (docs/labels.md)."""


@dataclass(frozen=True, slots=True)
class LabelPlan:
    """Which labels are stored.

    Attributes:
        codec: how.
        epochs: how many epochs of them.
        why: what was measured, and what was taken; nothing without a budget.
    """

    codec: str
    epochs: int
    why: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Labeller:
    """What is run on views, and how its outputs are stored."""

    network: Callable[[Tensor], Tensor]
    codec: Codec


def label_temperature(config: DistillConfig) -> float:
    """Returns the temperature at which students compare."""
    return config.temperature or TEMPERATURES[config.mix]


def default_codec(config: DistillConfig, num_classes: int) -> str:
    """Returns the codec of a run without a budget, with the classes that ``topk`` stores apart."""
    if config.label_codec == "auto":
        return "float16" if num_classes <= MOST_CLASSES_IN_HALF else "int8"
    if config.label_codec.startswith("topk"):  # as tables spell it: topk:05 is topk:5
        return find_codec(config.label_codec, num_classes=num_classes, temperature=label_temperature(config)).name
    return config.label_codec


def label_codec(plan: RunPlan, name: str) -> Codec:
    """Returns the codec called `name` for the plan's classes and teacher.

    Raises:
        InputError: it does not suit them.
    """
    temperature, head = label_temperature(plan.config), None
    if name == "features":
        split = split_teacher(plan)
        if split is None:
            raise InputError(
                f"label codec features needs a teacher whose logits are one linear layer of its features, and "
                f"{plan.config.teacher or plan.config.observer} has none; give another --label-codec, such as int8"
            )
        head = (split.weight, split.bias)
    return find_codec(name, num_classes=len(plan.classes), temperature=temperature, head=head)


def require_codec(plan: RunPlan) -> None:
    """Raises InputError, before anything is made, where the config's codec does not suit classes or teacher."""
    label_codec(plan, default_codec(plan.config, len(plan.classes)))


def load_labeller(plan: RunPlan, codec: str) -> Labeller:
    """Returns the teacher and a codec; for features, the teacher up to its last layer.

    Raises:
        InputError: the codec does not suit the teacher.
    """
    own = label_codec(plan, codec)
    split = split_teacher(plan) if codec == "features" else None
    network = split.trunk if split else load_planned(plan, "teacher").classifier
    return Labeller(fast_form(network, patch_px=plan.config.size, size=plan.config.size), own)


def split_teacher(plan: RunPlan) -> SplitNetwork | None:
    """Returns the teacher cut at its last layer, with the source's classes; None where it has no such layer."""
    teacher = load_planned(plan, "teacher")
    return _split(teacher.network, teacher.outputs, plan.config.size, str(resolve_device(plan.config.device)))


@lru_cache(maxsize=2)
def _split(network: nn.Module, outputs: tuple[int, ...], size: int, device: str) -> SplitNetwork | None:
    images = torch.randn(2, 3, size, size, generator=counter_generator(0, "split")).to(device)
    return split_last_layer(network, images, outputs)
