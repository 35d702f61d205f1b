"""Group recorded batches into forward passes of the teacher, and label them."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from rded_core.config import DistillConfig
from rded_core.io.dataset.images import read_class_images
from rded_core.io.device.labelling import TeacherPasses
from rded_core.io.formats.soft_labels import LabelledBatch
from rded_core.io.parallel import map_ordered
from rded_core.io.run.records import Record
from rded_core.labels.batches import pack_batches, plan_batches, rows_per_pass
from rded_core.labels.codecs import Encoded
from rded_core.labels.views import draw_views
from rded_core.seeds import counter_generator
from tasks.labels.labeller import Labeller, images_digest, label_batch_size, view_recipe
from tasks.labels.reuse import Drawn, EarlierLabels
from tasks.run.networks import device_of, load_planned, num_workers
from tasks.run.plan import RunPlan
from tasks.runtime.progress import track

CPU_ROWS = 20
DEVICE_ROWS = 256
"""Maximum number of rows in one forward pass: few stay in a core's cache, many fill a GPU."""

_Planned = tuple[int, int, Tensor]
"""A planned batch: its epoch, its number within the epoch, and the rows of its images."""


def rows_of_passes(batch_size: int, device: torch.device) -> int:
    """Returns the number of rows in every forward pass that labels recorded batches on a device."""
    return rows_per_pass(batch_size, CPU_ROWS if device.type == "cpu" else DEVICE_ROWS)


def find_images(plan: RunPlan, squeezed: dict[int, Record]) -> "ImagesToLabel":
    """Returns the distilled images of all classes, for the teacher's device."""
    tars = tuple((index, plan.run.tar("squeeze", record.unit)) for index, record in squeezed.items())
    return images_to_label(tars, images_digest(plan, squeezed), device_of(load_planned(plan, "teacher")))


@dataclass(frozen=True, slots=True)
class ImagesToLabel:
    """Keys and classes of the distilled images, the passes that label them, and the digest of their pixels."""

    keys: list[str]
    class_indices: Tensor
    passes: TeacherPasses
    digest: str


@lru_cache(maxsize=1)
def images_to_label(tars: tuple[tuple[int, Path], ...], digest: str, device: torch.device) -> ImagesToLabel:
    """Decodes the distilled images once for all blocks; the digest keys the cache to their bytes."""
    del digest
    stored = read_class_images(dict(tars))
    pixels = hashlib.sha256(stored.images.numpy().data).hexdigest()
    return ImagesToLabel(stored.keys, stored.class_indices, TeacherPasses(stored.images, device), pixels)


def _plan_block(config: DistillConfig, block: range, num_images: int, batch_size: int) -> list[_Planned]:
    return [
        (epoch, number, rows)
        for epoch in block
        for number, rows in enumerate(
            plan_batches(num_images, batch_size, counter_generator(config.seed, "label-order", epoch))
        )
    ]


def label_passes(
    plan: RunPlan,
    block: range,
    stored: ImagesToLabel,
    labeller: Labeller,
    earlier: EarlierLabels | None = None,
    *,
    most: int | None = None,
    what: str = "label",
) -> Iterator[tuple[int, LabelledBatch]]:
    """Yields the labelled batches of a block's first `most` passes (by default all), with their epochs, in order.

    Progress is logged under the heading `what`.

    Recorded batches are grouped into forward passes of one shape. One thread draws views, other threads render and
    label them (one, unless the device is a CPU: other devices work through a queue), and the caller writes meanwhile.
    """
    config, teacher = plan.config, load_planned(plan, "teacher")
    device, recipe = device_of(teacher), view_recipe(config)
    mean, std = teacher.preprocessing.mean, teacher.preprocessing.std
    size = label_batch_size(config, num_classes=len(plan.classes), num_images=len(stored.keys))
    on_cpu = device.type == "cpu"
    pass_rows = rows_of_passes(size, device)
    planned = _plan_block(config, block, len(stored.keys), size)

    def draw(group: range) -> tuple[list[Drawn], Encoded | None]:
        drawn = [
            (epoch, number, rows, draw_views(recipe, len(rows), counter_generator(config.seed, "views", epoch, number)))
            for epoch, number, rows in planned[group.start : group.stop]
        ]
        return drawn, earlier.labels_of(drawn) if earlier else None

    def label(entry: tuple[list[Drawn], Encoded | None]) -> tuple[list[Drawn], Encoded]:
        drawn, reused = entry
        if reused is not None:
            return drawn, reused
        batches = [(rows, views) for _, _, rows, views in drawn]
        outputs = stored.passes.label(labeller.network, batches, pass_rows, mean=mean, std=std)
        return drawn, labeller.codec.encode(outputs.cpu())

    groups = pack_batches([len(rows) for _, _, rows in planned], pass_rows)[:most]
    labelled = map_ordered(label, map_ordered(draw, groups, workers=1), workers=num_workers(config) if on_cpu else 1)
    heading = f"{what} epochs {block.start}-{block.stop - 1}"
    for drawn, encoded in track(labelled, total=len(groups), what=heading, unit="pass"):
        sizes = [len(rows) for _, _, rows, _ in drawn]
        parts = {name: column.split(sizes) for name, column in encoded.items()}
        for number, (epoch, _, rows, views) in enumerate(drawn):
            yield epoch, (rows, views, {name: column[number] for name, column in parts.items()})
