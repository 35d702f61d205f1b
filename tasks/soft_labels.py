"""Label views of the stored images with the teacher, block of epochs by block."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from prefect import task
from torch import Tensor

from rded_core.config import DistillConfig
from rded_core.io.distilled import StoredImages, read_images
from rded_core.io.manifest import Record, digest_of
from rded_core.io.parallel import map_ordered, one_torch_thread
from rded_core.io.paths import block_name, epoch_blocks
from rded_core.io.soft_label_tables import EPOCHS_PER_FILE, LabelledBatch, write_soft_labels
from rded_core.protocols import find_protocol
from rded_core.seeds import counter_generator
from rded_core.soft_labels import encode_logits, plan_batches
from rded_core.views import ViewRecipe, apply_views, draw_views
from tasks.networks import device_of, fast_form, load_teacher, num_workers
from tasks.policies import STAGE_POLICY
from tasks.prepare import RunPlan
from tasks.progress import track
from tasks.units import run_unit

STAGE = "soft_labels"


def label_blocks(config: DistillConfig) -> list[range]:
    """Returns the blocks of epochs that share a table: the units of this stage."""
    return list(epoch_blocks(config.label_epochs, EPOCHS_PER_FILE))


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


@task(name=STAGE, task_run_name="label epochs {block.start}-{block.stop}", **STAGE_POLICY)
def label_views(plan: RunPlan, block: range, images: list[Record]) -> Record:
    """Writes the views of a block of epochs with the teacher's logits, made from the images as stored."""
    run, config = plan.run, plan.config
    table = run.table(STAGE, block_name(block))
    digest = digest_of([output for record in images for output in sorted(record.outputs.values())])

    def produce() -> dict[str, Any]:
        stored = _stored_images(tuple(run.tar("squeeze", shard.name) for shard in plan.shards), digest)
        write_soft_labels(
            table,
            _label_block(plan, block, stored),
            keys=stored.keys,
            class_indices=stored.class_indices,
            num_classes=len(plan.classes),
            metadata=_metadata(plan, stored),
        )
        return {"views": len(stored.keys) * len(block), "bytes": table.stat().st_size}

    fields = ("seed", "protocol", "label_batch_size", "mix", "flip", "factor", "size", "selection", "ipc")
    return run_unit(
        run,
        STAGE,
        block_name(block),
        settings={"epochs": [block.start, block.stop], **{name: getattr(config, name) for name in fields}},
        upstream=[digest, plan.teacher],
        outputs=[table],
        produce=produce,
    )


@lru_cache(maxsize=1)
def _stored_images(tars: tuple[Path, ...], digest: str) -> StoredImages:
    """Decodes the distilled images once for all blocks; the digest keys the cache to their bytes."""
    del digest
    return read_images(list(tars))


def _label_block(plan: RunPlan, block: range, stored: StoredImages) -> dict[int, list[LabelledBatch]]:
    config = plan.config
    teacher = load_teacher(config, plan.classes)
    network = fast_form(teacher, patch_px=config.size, size=config.size)
    device = device_of(teacher)
    recipe = view_recipe(config)
    size = label_batch_size(config, num_classes=len(plan.classes), num_images=len(stored.keys))
    jobs = [
        (epoch, number, rows)
        for epoch in block
        for number, rows in enumerate(
            plan_batches(len(stored.keys), size, counter_generator(config.seed, "label-order", epoch))
        )
    ]

    def work(job: tuple[int, int, Tensor]) -> tuple[int, LabelledBatch]:
        epoch, number, rows = job
        views = draw_views(recipe, len(rows), counter_generator(config.seed, "views", epoch, number))
        with torch.inference_mode():
            shown = apply_views(
                stored.images[rows], views, mean=teacher.preprocessing.mean, std=teacher.preprocessing.std
            )
            logits = network(shown.to(device))
        return epoch, (rows, views, encode_logits(logits.float().cpu()))

    labelled: dict[int, list[LabelledBatch]] = {epoch: [] for epoch in block}
    with one_torch_thread():
        workers = num_workers(config) if device.type == "cpu" else 1
        done = map_ordered(work, jobs, workers=workers)
        for epoch, batch in track(done, total=len(jobs), what=f"label epochs {block.start}-{block.stop - 1}"):
            labelled[epoch].append(batch)
    return labelled


def _metadata(plan: RunPlan, stored: StoredImages) -> dict[str, Any]:
    """Returns what a label table says of itself, so that it can be read without this project."""
    recipe = view_recipe(plan.config)
    return {
        "teacher": plan.teacher,
        "classes": digest_of([label.folder for label in plan.classes]),
        "images": hashlib.sha256(stored.images.numpy().tobytes()).hexdigest(),
        "views": {name: getattr(recipe, name) for name in ViewRecipe.__slots__},
        "seed": plan.config.seed,
    }
