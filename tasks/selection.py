"""Select patches: best crop per candidate, best candidates per class, in rank order."""

from typing import Any

import torch
from prefect import task

from rded_core.io.manifest import Record
from rded_core.io.paths import ClassShard
from rded_core.io.sources import SourceClass
from rded_core.io.tables import SCORES, SELECTED, read_rows_by_class, write_rows
from rded_core.selection import SelectedPatches, select_patches, take_first_patches
from rded_core.squeeze import rank_grid
from tasks.policies import STAGE_POLICY
from tasks.prepare import RunPlan, too_few
from tasks.progress import run_logger
from tasks.units import run_unit

STAGE = "selection"

Row = dict[str, Any]


@task(name=STAGE, task_run_name="select {shard.name}", **STAGE_POLICY)
def select(plan: RunPlan, shard: ClassShard, scores: Record) -> Record:
    """Writes the lineage of the shard's distilled images: which box of which source image goes where.

    Raises:
        InputError: a class has too few usable candidates.
    """
    table = plan.run.table(STAGE, shard.name)
    fields = ("selection", "ipc", "factor", "allow_fewer")

    def produce() -> dict[str, Any]:
        scored = read_rows_by_class(plan.run.table("realism", shard.name), SCORES, range(shard.start, shard.stop))
        rows = [row for index, group in scored for row in _select_class(plan, plan.classes[index], list(group))]
        write_rows(table, rows, SELECTED)
        return {"patches": len(rows)}

    return run_unit(
        plan.run,
        STAGE,
        shard.name,
        settings={name: getattr(plan.config, name) for name in fields},
        upstream=[scores.outputs_digest()],
        outputs=[table],
        produce=produce,
    )


def _select_class(plan: RunPlan, label: SourceClass, candidates: list[Row]) -> list[Row]:
    config = plan.config
    # Controls keep to the number of images that the method itself can make of a small class.
    num_images = min(config.ipc, len(candidates) // config.candidates_per_image)
    if num_images < config.ipc:
        if not config.allow_fewer or num_images == 0:
            raise too_few(label.folder, len(candidates), plan.num_source[label.index], config)
        run_logger().warning("class %s: %d images instead of %d", label.folder, num_images, config.ipc)
    num_patches = num_images * config.patches_per_image
    if config.selection == "realism":
        chosen = select_patches(torch.tensor([row["scores_nats"] for row in candidates]), num_patches)
    else:
        chosen = take_first_patches(len(candidates), num_patches)
    grid = rank_grid(num_images, config.tile_factor).tolist()
    return [
        _lineage_row(f"c{label.index:05d}_i{number:05d}", quadrant, rank, candidates, chosen)
        for number, ranks in enumerate(grid)
        for quadrant, rank in enumerate(ranks)
    ]


def _lineage_row(key: str, quadrant: int, rank: int, candidates: list[Row], chosen: SelectedPatches) -> Row:
    candidate = candidates[int(chosen.candidates[rank])]
    crop = int(chosen.crops[rank])
    top, left, height, width = candidate["boxes"][4 * crop : 4 * crop + 4]
    return {
        **candidate,
        "key": key,
        "candidate_key": candidate["key"],
        "quadrant": quadrant,
        "rank": rank,
        "box_top": top,
        "box_left": left,
        "box_height": height,
        "box_width": width,
        "score_nats": candidate["scores_nats"][crop] if candidate["scores_nats"] else None,
    }
