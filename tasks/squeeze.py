"""Cut the selected patches again, tile them, and store the distilled images."""

import hashlib
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import torch
from prefect import task
from torch import Tensor

from rded_core.crops import cut_patch
from rded_core.errors import InputError
from rded_core.io.distilled_samples import encode_sample
from rded_core.io.images import RejectedImage, decode_image, encode_image, image_suffix
from rded_core.io.manifest import Record
from rded_core.io.parallel import map_ordered, one_torch_thread
from rded_core.io.paths import ClassShard
from rded_core.io.shards import Sample, write_shard
from rded_core.io.sources import read_item
from rded_core.io.tables import SELECTED, read_rows
from rded_core.squeeze import cell_shapes, tile_patches
from tasks.candidates import candidate_item
from tasks.networks import num_workers
from tasks.policies import STAGE_POLICY
from tasks.prepare import RunPlan
from tasks.progress import track
from tasks.units import run_unit

STAGE = "squeeze"


@task(name=STAGE, task_run_name="tile {shard.name}", **STAGE_POLICY)
def tile(plan: RunPlan, shard: ClassShard, selected: Record) -> Record:
    """Writes the shard's distilled images as a tar, in class and image order."""
    tar = plan.run.tar(STAGE, shard.name)
    fields = ("image_format", "image_quality", "size", "factor", "selection")

    def produce() -> dict[str, Any]:
        rows = read_rows(plan.run.table("selection", shard.name), SELECTED)
        images = [list(group) for _, group in groupby(rows, key=lambda row: row["key"])]
        with one_torch_thread():
            samples = map_ordered(
                lambda image: _make_sample(plan, shard, image), images, workers=num_workers(plan.config)
            )
            written = write_shard(tar, track(samples, total=len(images), what=f"tile {shard.name}"))
        return {"images": written.num_samples, "bytes": tar.stat().st_size}

    return run_unit(
        plan.run,
        STAGE,
        shard.name,
        settings={name: getattr(plan.config, name) for name in fields},
        upstream=[selected.outputs_digest()],
        outputs=[tar],
        produce=produce,
    )


def _make_sample(plan: RunPlan, shard: ClassShard, quadrants: list[dict[str, Any]]) -> Sample:
    config = plan.config
    factor = config.tile_factor
    patches = list(_cut(plan, shard, quadrants, cell_shapes(config.size, factor)))
    data = encode_image(tile_patches(patches, factor), config.image_format, config.image_quality)
    label = plan.classes[quadrants[0]["class_index"]]
    return encode_sample(
        quadrants[0]["key"],
        {image_suffix(config.image_format): data},
        label=label,
        source_uris=[row["source_uri"] for row in quadrants],
    )


def _read_unchanged(plan: RunPlan, shard: ClassShard, row: dict[str, Any]) -> bytes:
    """Reads a patch's source image; raises InputError where it is not the one that was scored."""
    try:
        data = read_item(candidate_item(plan, shard, {**row, "key": row["candidate_key"]}))
    except RejectedImage as error:
        raise InputError(
            f"{row['source_uri']} has gone since it was scored ({error}); distil into a new --out"
        ) from error
    if hashlib.sha256(data).hexdigest() != row["source_sha256"]:
        raise InputError(f"{row['source_uri']} has changed since it was scored; distil into a new --out")
    return data


def _cut(
    plan: RunPlan, shard: ClassShard, quadrants: list[dict[str, Any]], shapes: list[tuple[int, int]]
) -> Iterator[Tensor]:
    for row, (height_px, width_px) in zip(quadrants, shapes, strict=True):
        image = decode_image(_read_unchanged(plan, shard, row))
        box = torch.tensor([row["box_top"], row["box_left"], row["box_height"], row["box_width"]])
        yield cut_patch(image, box, height_px, width_px)
