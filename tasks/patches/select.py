"""Select patches: best crop per candidate, best candidates per class, in rank order."""

from typing import Any, cast

import torch

from rded_core.io.formats.rows import ScoredCandidate, SelectedRow
from rded_core.io.formats.schemas import CANDIDATES, SCORES, SELECTED
from rded_core.io.formats.tables import read_rows, write_rows
from rded_core.io.layout.units import ClassShard
from rded_core.io.run.records import Record
from rded_core.io.storage.files import shown_name
from rded_core.patches.selection import SelectedPatches, select_patches, take_first_patches
from rded_core.patches.tiling import rank_grid
from rded_core.text.wording import counted
from tasks.run.networks import num_workers
from tasks.run.plan import RunPlan, too_few
from tasks.run.results import StageResult
from tasks.run.worklist import Unit, Worklist
from tasks.runtime.logs import run_logger
from tasks.runtime.mirroring import files_of_shard
from tasks.runtime.stage_task import stage_task

STAGE = "selection"


@stage_task(STAGE, "select {shard.name} · {plan.config.short_name}", files=files_of_shard)
def select(plan: RunPlan, shard: ClassShard, candidates: StageResult, scores: StageResult) -> StageResult:
    """Writes, for each class, which crop of which candidate goes to which place in its images.

    Raises:
        InputError: a class has too few usable candidates.
    """
    upstream = (candidates.records, scores.records)
    units = {
        index: selection_unit(plan, index, *(records.get(index) for records in upstream)) for index in shard.indices
    }
    work = Worklist(units, lambda index: plan.scope("select", index), why=scores.why, workers=num_workers(plan.config))
    for index in work.stale:
        work.finish(index, select_class(plan, index))
    return work.result(STAGE, shard.name)


def selection_unit(plan: RunPlan, index: int, candidates: Record | None, scores: Record | None) -> Unit | None:
    """Returns the unit of one class; None if it has no scores."""
    if candidates is None or scores is None:
        return None
    name = plan.unit(index)
    fields = ("selection", "ipc", "factor", "allow_fewer")
    return Unit(
        plan.run,
        STAGE,
        name,
        settings={field: getattr(plan.config, field) for field in fields},
        upstream={"scores": scores.outputs_digest(), "candidates": candidates.facts["content"]},
        outputs=(plan.run.table(STAGE, name),),
        still_true=_lost_before if not plan.scope("select", index).frozen else lambda _: "",
    )


def _lost_before(record: Record) -> str:
    """Returns the reason to select again if candidates were missing when the class was tiled: they may be back."""
    count = len(record.facts["lost"])
    return f"{counted(count, 'candidate')} had gone" if count else ""


def select_class(plan: RunPlan, index: int, lost: tuple[int, ...] = ()) -> dict[str, Any]:
    """Writes one class's selection, without the candidates at the positions `lost`; returns its facts."""
    name = plan.unit(index)
    locations = {row["position"]: row for row in read_rows(plan.run.table("candidates", name), CANDIDATES)}
    scored = [row for row in read_rows(plan.run.table("realism", name), SCORES) if row["position"] not in lost]
    rows = choose_patches(
        plan, index, [cast("ScoredCandidate", {**row, **locations[row["position"]]}) for row in scored]
    )
    write_rows(plan.run.table(STAGE, name), rows, SELECTED)
    return {"patches": len(rows), "images": len({row["number"] for row in rows}), "lost": sorted(lost)}


def choose_patches(plan: RunPlan, index: int, candidates: list[ScoredCandidate]) -> list[SelectedRow]:
    """Returns the patches of a class's images in order, chosen from candidates with locations, boxes and scores."""
    config, folder = plan.config, plan.classes[index].folder
    # Of a small class, controls make only as many images as the method itself can.
    num_images = min(config.ipc, len(candidates) // config.candidates_per_image)
    if num_images < config.ipc:
        if not config.allow_fewer or num_images == 0:
            raise too_few(folder, len(candidates), plan.num_source[index], config)
        run_logger().warning("class %s: %s instead of %d", shown_name(folder), counted(num_images, "image"), config.ipc)
    num_patches = num_images * config.patches_per_image
    if config.selection == "realism":
        chosen = select_patches(torch.tensor([row["scores_nats"] for row in candidates]), num_patches)
    else:
        chosen = take_first_patches(len(candidates), num_patches)
    grid = rank_grid(num_images, config.tile_factor).tolist()
    return [
        _patch_row(number, quadrant, rank, candidates, chosen)
        for number, ranks in enumerate(grid)
        for quadrant, rank in enumerate(ranks)
    ]


def _patch_row(
    number: int, quadrant: int, rank: int, candidates: list[ScoredCandidate], chosen: SelectedPatches
) -> SelectedRow:
    candidate = candidates[int(chosen.candidates[rank])]
    crop = int(chosen.crops[rank])
    top, left, height, width = candidate["boxes"][4 * crop : 4 * crop + 4]
    return SelectedRow(
        number=number,
        position=candidate["position"],
        quadrant=quadrant,
        rank=rank,
        source_uri=candidate["source_uri"],
        source_sha256=candidate["source_sha256"],
        box_top=top,
        box_left=left,
        box_height=height,
        box_width=width,
        score_nats=candidate["scores_nats"][crop] if candidate["scores_nats"] else None,
    )
