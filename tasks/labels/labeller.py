"""The labelling network, together with the codec that stores its outputs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from rded_core.config import DistillConfig
from rded_core.errors import InputError
from rded_core.io.device.devices import resolve_device
from rded_core.io.formats.sealed import digest_of
from rded_core.io.run.records import Record
from rded_core.labels.codecs import Codec, find_codec
from rded_core.labels.views import ViewRecipe
from rded_core.networks.last_layer import SplitNetwork, split_last_layer
from rded_core.seeds import counter_generator
from rded_core.training.protocols import TEMPERATURES, find_protocol
from tasks.run.networks import fast_form, load_planned
from tasks.run.plan import RunPlan

MOST_CLASSES_IN_HALF = 200
"""With more classes, ``auto`` stores 8 bits per logit: half the bytes, and almost nothing lost (docs/labels.md)."""


@dataclass(frozen=True, slots=True)
class LabelPlan:
    """The labels to store.

    Attributes:
        codec: name of the codec.
        epochs: number of epochs.
        why: the measurements and the choice; None without a budget.
    """

    codec: str
    epochs: int
    why: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Labeller:
    """A network to run on views, and the codec that stores its outputs."""

    network: Callable[[Tensor], Tensor]
    codec: Codec


def label_temperature(config: DistillConfig) -> float:
    """Returns the temperature at which students compare their logits with the teacher's."""
    return config.temperature or TEMPERATURES[config.mix]


def default_codec(config: DistillConfig, num_classes: int) -> str:
    """Returns the codec of a run without a budget; ``topk`` with its number of classes."""
    if config.label_codec == "auto":
        return "float16" if num_classes <= MOST_CLASSES_IN_HALF else "int8"
    if config.label_codec.startswith("topk"):  # spelled as in tables: topk:05 is topk:5
        return find_codec(config.label_codec, num_classes=num_classes, temperature=label_temperature(config)).name
    return config.label_codec


def label_codec(plan: RunPlan, name: str) -> Codec:
    """Returns the codec called `name` for the plan's classes and teacher.

    Raises:
        InputError: the codec does not suit them.
    """
    temperature, head = label_temperature(plan.config), None
    if name == "features":
        split = split_teacher(plan)
        if split is None:
            raise InputError(
                f"label codec features needs a teacher whose logits are one linear layer of its features, but "
                f"{plan.config.teacher or plan.config.observer} has no such layer; use another --label-codec, e.g. int8"
            )
        head = (split.weight, split.bias)
    return find_codec(name, num_classes=len(plan.classes), temperature=temperature, head=head)


def require_codec(plan: RunPlan) -> None:
    """Raises InputError if the config's codec does not suit the classes or the teacher; called before any work."""
    label_codec(plan, default_codec(plan.config, len(plan.classes)))


def load_labeller(plan: RunPlan, codec: str) -> Labeller:
    """Returns the teacher with a codec; for ``features``, the teacher up to its last layer.

    Raises:
        InputError: the codec does not suit the teacher.
    """
    own = label_codec(plan, codec)
    split = split_teacher(plan) if codec == "features" else None
    network = split.trunk if split else load_planned(plan, "teacher").classifier
    return Labeller(fast_form(network, patch_px=plan.config.size, size=plan.config.size), own)


def split_teacher(plan: RunPlan) -> SplitNetwork | None:
    """Returns the teacher split at its last layer, with the source's classes; None if it has no such layer."""
    teacher = load_planned(plan, "teacher")
    return _split(teacher.network, teacher.outputs, plan.config.size, str(resolve_device(plan.config.device)))


@lru_cache(maxsize=2)
def _split(network: nn.Module, outputs: tuple[int, ...], size: int, device: str) -> SplitNetwork | None:
    images = torch.randn(2, 3, size, size, generator=counter_generator(0, "split")).to(device)
    return split_last_layer(network, images, outputs)


def view_recipe(config: DistillConfig) -> ViewRecipe:
    """Returns the recipe of this config's views; a random real image has no cells to shuffle."""
    return ViewRecipe(
        size=config.size,
        factor=config.tile_factor,
        crop_scale_min=find_protocol(config.protocol).crop_scale_min(config.factor),
        flip=config.flip,
        mix=config.mix,
    )


def label_batch_size(config: DistillConfig, *, num_classes: int, num_images: int) -> int:
    """Returns the number of images per recorded batch: the config's, or the protocol's for this IPC."""
    protocol = find_protocol(config.protocol)
    published = protocol.batch_size(ipc=config.ipc, num_classes=num_classes, num_images=num_images)
    return min(config.label_batch_size or published, num_images)


def images_digest(plan: RunPlan, squeezed: dict[int, Record]) -> str:
    """Returns one digest of the files of all distilled images, class by class."""
    return digest_of([[plan.classes[index].folder, record.facts["sha256"]] for index, record in squeezed.items()])


def label_settings(plan: RunPlan, squeezed: dict[int, Record]) -> dict[str, Any]:
    """Returns the settings that the views and the teacher's outputs for them depend on, besides the images."""
    config = plan.config
    num_images = sum(record.facts["images"] for record in squeezed.values())
    fields = ("seed", "protocol", "mix", "flip", "factor", "size", "selection")
    return {
        "batch_size": label_batch_size(config, num_classes=len(plan.classes), num_images=num_images),
        "classes": digest_of([label.folder for label in plan.classes]),
        **{field: getattr(config, field) for field in fields},
        **plan.network_settings("teacher"),
    }


def tail_temperature(config: DistillConfig, codec: str) -> dict[str, float]:
    """Returns the temperature, as a setting, if labels depend on it: ``topk`` sums up the other classes at it."""
    return {"temperature": label_temperature(config)} if codec.startswith("topk") else {}
