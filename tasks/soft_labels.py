"""Label views of the stored images with the teacher, block of epochs by block."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rded_core.config.distill import DistillConfig
from rded_core.io.dataset.images import read_class_images
from rded_core.io.device.labelling import TeacherPasses
from rded_core.io.formats.sealed import digest_of
from rded_core.io.formats.soft_labels import EPOCHS_PER_FILE, LabelledBatch, write_soft_labels
from rded_core.io.layout.units import block_name, epoch_blocks
from rded_core.io.parallel import map_ordered, one_torch_thread
from rded_core.io.run.records import Record
from rded_core.io.storage.files import file_stamp
from rded_core.labels.batches import pack_batches, plan_batches, rows_per_pass
from rded_core.labels.codecs import Encoded
from rded_core.labels.views import ViewRecipe, draw_views
from rded_core.seeds import counter_generator
from rded_core.training.protocols import find_protocol
from tasks.gpu_slot import gpu_slot
from tasks.label_codecs import Labeller, LabelPlan, label_temperature, load_labeller
from tasks.labels_before import PASSES, Drawn, LabelsBefore, key_images
from tasks.networks import device_of, load_planned, num_workers
from tasks.policies import stage_task
from tasks.prepare import RunPlan
from tasks.progress import track
from tasks.units import StageResult, Unit, Worklist
from tasks.versions import made_with

STAGE = "soft_labels"

CPU_ROWS = 20
DEVICE_ROWS = 256
"""Most rows of one forward pass: few stay in a core's cache, many fill a GPU."""

_Planned = tuple[int, int, Tensor]
"""A batch to come: its epoch, its number there, and the rows of its images."""


def label_blocks(chosen: LabelPlan | None) -> list[range]:
    """Returns the blocks of epochs that share a table: the units of this stage; none while a class has no images."""
    return list(epoch_blocks(chosen.epochs, EPOCHS_PER_FILE)) if chosen else []


def label_units(chosen: LabelPlan | None) -> list[str]:
    """Names the units of this stage that a run has: its blocks, and what it chose within a budget."""
    return [*map(block_name, label_blocks(chosen)), *(["choice"] if chosen and chosen.why else [])]


def view_recipe(config: DistillConfig) -> ViewRecipe:
    """Returns how this config's views are drawn; a random real image has no cells to shuffle."""
    return ViewRecipe(
        size=config.size,
        factor=config.tile_factor,
        crop_scale_min=find_protocol(config.protocol).crop_scale_min(config.factor),
        flip=config.flip,
        mix=config.mix,
    )


def label_batch_size(config: DistillConfig, *, num_classes: int, num_images: int) -> int:
    """Returns images per recorded batch: the config's, or the protocol's for this IPC."""
    protocol = find_protocol(config.protocol)
    published = protocol.batch_size(ipc=config.ipc, num_classes=num_classes, num_images=num_images)
    return min(config.label_batch_size or published, num_images)


def _run_name(parameters: dict[str, Any]) -> str:
    plan, block = parameters["plan"], parameters["block"]
    return f"label epochs {block.start}-{block.stop - 1} · {plan.config.short_name}"


@stage_task(STAGE, _run_name, runs_network=True)
def label_views(plan: RunPlan, block: range, chosen: LabelPlan, images: list[StageResult]) -> StageResult:
    """Writes the views of a block of epochs with the teacher's labels, made from the images as stored.

    Where only some images have changed since the block was written, only the passes with views of those are computed.
    """
    squeezed = squeeze_records(images)
    unit = _unit(plan, block, chosen, squeezed)
    work = Worklist({block.start: unit}, lambda _: plan.scope("label"))
    if work.stale:
        with gpu_slot(plan.config.device):
            work.finish(block.start, _label(plan, block, unit, load_labeller(plan, chosen.codec), squeezed))
    return work.result(STAGE, f"epochs {block.start}-{block.stop - 1}")


def squeeze_records(images: list[StageResult]) -> dict[int, Record]:
    """Returns the records of all classes' images, in index order."""
    return dict(sorted(entry for result in images for entry in result.records.items()))


def images_digest(plan: RunPlan, squeezed: dict[int, Record]) -> str:
    """Returns one digest over every distilled image's file, class by class."""
    return digest_of([[plan.classes[index].folder, record.facts["sha256"]] for index, record in squeezed.items()])


def label_settings(plan: RunPlan, squeezed: dict[int, Record]) -> dict[str, Any]:
    """Returns the settings on which the views and the teacher's outputs for them depend, besides the images."""
    config = plan.config
    num_images = sum(record.facts["images"] for record in squeezed.values())
    fields = ("seed", "protocol", "mix", "flip", "factor", "size", "selection")
    return {
        "batch_size": label_batch_size(config, num_classes=len(plan.classes), num_images=num_images),
        "classes": digest_of([label.folder for label in plan.classes]),
        **{field: getattr(config, field) for field in fields},
        **plan.network_settings("teacher"),
    }


def _unit(plan: RunPlan, block: range, chosen: LabelPlan, squeezed: dict[int, Record]) -> Unit:
    settings = {
        "epochs": [block.start, block.stop],
        "codec": chosen.codec,
        **_tail_temperature(plan.config, chosen.codec),
        **label_settings(plan, squeezed),
    }
    name = block_name(block)
    upstream = {"images": images_digest(plan, squeezed)}
    return Unit(plan.run, STAGE, name, settings, upstream, outputs=(plan.run.table(STAGE, name),))


def _label(plan: RunPlan, block: range, unit: Unit, labeller: Labeller, squeezed: dict[int, Record]) -> dict[str, Any]:
    """Writes one block's table and returns what its record says of it."""
    table = unit.outputs[0]
    stored = find_images(plan, squeezed)
    device = stored.passes.device
    facts = {**made_with(device), PASSES: f"{rows_of_passes(unit.settings['batch_size'], device)} rows"}
    before = LabelsBefore.find(unit, key_images(squeezed), labeller.codec, facts)
    with one_torch_thread():
        write_soft_labels(
            table,
            label_passes(plan, block, stored, labeller, before),
            keys=stored.keys,
            class_indices=stored.class_indices,
            codec=labeller.codec,
            metadata=_metadata(plan, stored.digest, labeller.codec.name),
        )
    counts = {"views": len(stored.keys) * len(block), "bytes": file_stamp(str(table))[1]}
    return {**counts, **facts, **(before.facts() if before else {})}


def rows_of_passes(batch_size: int, device: torch.device) -> int:
    """Returns the rows of every forward pass that labels recorded batches on a device."""
    return rows_per_pass(batch_size, CPU_ROWS if device.type == "cpu" else DEVICE_ROWS)


def find_images(plan: RunPlan, squeezed: dict[int, Record]) -> "ImagesToLabel":
    """Returns the distilled images of all classes, for the teacher's device."""
    tars = tuple((index, plan.run.tar("squeeze", record.unit)) for index, record in squeezed.items())
    return images_to_label(tars, images_digest(plan, squeezed), device_of(load_planned(plan, "teacher")))


@dataclass(frozen=True, slots=True)
class ImagesToLabel:
    """The distilled images' names and classes, the passes they are labelled in, and the digest of their pixels."""

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
    before: LabelsBefore | None = None,
    *,
    most: int | None = None,
    what: str = "label",
) -> Iterator[tuple[int, LabelledBatch]]:
    """Yields the batches of a block's first `most` passes, by default of all, with their epochs, in order.

    `what` is done is told in the log.

    Recorded batches are grouped into forward passes of one shape. Views are drawn on one thread, made and labelled on
    others (on one where the device is no CPU: it works through a queue), and written by the caller meanwhile.
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
        return drawn, before.labels_of(drawn) if before else None

    def label(entry: tuple[list[Drawn], Encoded | None]) -> tuple[list[Drawn], Encoded]:
        drawn, known = entry
        if known is not None:
            return drawn, known
        batches = [(rows, views) for _, _, rows, views in drawn]
        outputs = stored.passes.label(labeller.network, batches, pass_rows, mean=mean, std=std)
        return drawn, labeller.codec.encode(outputs.cpu())

    groups = pack_batches([len(rows) for _, _, rows in planned], pass_rows)[:most]
    labelled = map_ordered(label, map_ordered(draw, groups, workers=1), workers=num_workers(config) if on_cpu else 1)
    told = f"{what} epochs {block.start}-{block.stop - 1}"
    for drawn, encoded in track(labelled, total=len(groups), what=told):
        sizes = [len(rows) for _, _, rows, _ in drawn]
        parts = {name: column.split(sizes) for name, column in encoded.items()}
        for number, (epoch, _, rows, views) in enumerate(drawn):
            yield epoch, (rows, views, {name: column[number] for name, column in parts.items()})


def _tail_temperature(config: DistillConfig, codec: str) -> dict[str, float]:
    """Returns the temperature where labels depend on it: at which ``topk`` sums up what it leaves out."""
    return {"temperature": label_temperature(config)} if codec.startswith("topk") else {}


def _metadata(plan: RunPlan, pixels: str, codec: str) -> dict[str, Any]:
    """Returns what a label table says of itself, so that it can be read without this project."""
    recipe = view_recipe(plan.config)
    return {
        "teacher": plan.teacher,
        **_tail_temperature(plan.config, codec),
        "classes": digest_of([label.folder for label in plan.classes]),
        "images": pixels,
        "views": {name: getattr(recipe, name) for name in ViewRecipe.__slots__},
        "seed": plan.config.seed,
    }
