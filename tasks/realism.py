"""Score crops: decode each candidate, draw its boxes, score its patches with the observer.

On the CPU every core takes a group of candidates from decoding to scores; on a device of its own, and in bfloat16, the
cores decode for it (`rded_core.io.device_scoring`).
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from prefect import task
from torch import Tensor

from rded_core.crops import centre_box, cut_patches, draw_crop_boxes
from rded_core.io.device import resolve_device, resolve_precision
from rded_core.io.device_scoring import ScoredClass
from rded_core.io.images import RejectedImage, decode_image, jpeg_size
from rded_core.io.manifest import Record
from rded_core.io.parallel import map_ordered, one_torch_thread
from rded_core.io.paths import ClassShard
from rded_core.io.sources import read_item
from rded_core.io.tables import CANDIDATES, SCORES, read_rows_by_class, write_rows
from rded_core.realism import score_patches
from rded_core.seeds import counter_generator
from tasks.candidates import Rejected, candidate_item, raise_if_missing
from tasks.networks import load_device_scorers, load_observer, load_scorer, num_workers
from tasks.policies import STAGE_POLICY
from tasks.prepare import RunPlan
from tasks.progress import track
from tasks.units import run_unit

STAGE = "realism"

CANDIDATES_PER_FORWARD = 4
"""Candidates of one class that share a forward pass. Fixed, so that scores do not depend on shards or workers."""

Row = dict[str, Any]


@task(name=STAGE, task_run_name="score {shard.name}", **STAGE_POLICY)
def score_crops(plan: RunPlan, shard: ClassShard, candidates: Record) -> Record:
    """Writes every candidate that decodes with its crop boxes and their realism scores; others are counted.

    Controls decode and draw boxes alike, and score nothing.
    """
    table = plan.run.table(STAGE, shard.name)
    fields = ("selection", "num_crops", "factor", "size", "crop_scale_min", "seed", "decoder")
    rounded = _rounding(plan)

    def produce() -> dict[str, Any]:
        rejected: Rejected = {label.index: [] for label in plan.classes_of(shard)}
        rows = _score_shard(plan, shard, rejected)
        write_rows(table, rows, SCORES)
        form = {"observer": _network_form(plan)} if plan.config.selection == "realism" else {}
        refused = {str(key): found for key, found in rejected.items() if found}
        return {"usable": len(rows), **form, **rounded, "rejected": refused}

    return run_unit(
        plan.run,
        STAGE,
        shard.name,
        settings={name: getattr(plan.config, name) for name in fields},
        upstream=[candidates.outputs_digest(), plan.observer],
        outputs=[table],
        produce=produce,
    )


def _rounding(plan: RunPlan) -> dict[str, Any]:
    """Returns what is to be said of rounded scores: their type, and how many of the best are float32's, in its order.

    No setting: what is selected is float32's either way.
    """
    config = plan.config
    if config.selection != "realism":
        return {}
    dtype = resolve_precision(config.precision, resolve_device(config.device))
    return {} if dtype == torch.float32 else {"precision": "bfloat16", "exact_ranks": config.candidates_per_class}


def _network_form(plan: RunPlan) -> str:
    """Says whether the observer runs in its fast form."""
    on_device = _uses_devices(plan)
    scorer = load_device_scorers(plan.config, plan.classes)[0] if on_device else load_scorer(plan.config, plan.classes)
    return "traced by torch.fx" if scorer.shortcut else "as it is (torch.fx cannot follow it)"


def _score_shard(plan: RunPlan, shard: ClassShard, rejected: Rejected) -> list[Row]:
    listed = read_rows_by_class(plan.run.table("candidates", shard.name), CANDIDATES, range(shard.start, shard.stop))
    by_class = {index: list(rows) for index, rows in listed}
    score = _score_on_devices if _uses_devices(plan) else _score_in_groups
    return score(plan, shard, by_class, rejected)


def _uses_devices(plan: RunPlan) -> bool:
    """Tells whether whole images are sent to a device; controls, which are not scored, never are."""
    is_cpu = resolve_device(plan.config.device).type == "cpu"
    return plan.config.selection == "realism" and (not is_cpu or bool(_rounding(plan)))


def _score_on_devices(
    plan: RunPlan, shard: ClassShard, by_class: dict[int, list[Row]], rejected: Rejected
) -> list[Row]:
    """Scores whole classes, shared out over the devices."""
    scorers = load_device_scorers(plan.config, plan.classes)
    workers = max(num_workers(plan.config) // len(scorers), 1)

    def load(row: Row) -> tuple[Tensor | bytes, Tensor]:
        return _load_for_device(plan, shard, row)

    def share(number: int) -> Iterator[ScoredClass[Row]]:
        return scorers[number].score(list(by_class.items())[number :: len(scorers)], load, workers=workers)

    def work(number: int) -> list[ScoredClass[Row]]:
        return list(share(number))

    with one_torch_thread():
        # One device works in this thread, where its progress shows class by class; several in a thread each.
        parts = map_ordered(work, range(len(scorers)), workers=len(scorers))
        done = share(0) if len(scorers) == 1 else (found for part in parts for found in part)
        scored = {found.class_index: found for found in track(done, total=len(by_class), what=f"score {shard.name}")}
    rows: list[Row] = []
    for index in by_class:
        found = scored[index]
        for row, error in found.refused:
            raise_if_missing(error, row, plan)
            rejected[index].append((error.reason, row["source_uri"]))
        rows += [
            {**row, "boxes": boxes.flatten().tolist(), "scores_nats": scores.tolist()}
            for row, boxes, scores in zip(found.rows, found.boxes, found.scores, strict=True)
        ]
    return rows


def _score_in_groups(plan: RunPlan, shard: ClassShard, by_class: dict[int, list[Row]], rejected: Rejected) -> list[Row]:
    """Takes groups of a class's candidates from decoding to scores, a core each."""
    observer = load_observer(plan.config, plan.classes)
    scorer = load_scorer(plan.config, plan.classes) if plan.config.selection == "realism" else observer.network
    score = partial(score_patches, scorer, mean=observer.preprocessing.mean, std=observer.preprocessing.std)
    groups = list(_groups(by_class))
    scored: list[Row] = []

    def work(group: list[Row]) -> tuple[list[Row], list[tuple[str, str]]]:
        kept, patches, refused = _cut_group(plan, shard, group)
        _score_group(score, kept, patches)
        return kept, refused

    with one_torch_thread():
        outcomes = map_ordered(work, groups, workers=num_workers(plan.config))
        followed = track(outcomes, total=len(groups), what=f"score {shard.name}")
        for group, (kept, refused) in zip(groups, followed, strict=True):
            rejected[group[0]["class_index"]] += refused
            scored += kept
    return scored


def _groups(by_class: dict[int, list[Row]]) -> Iterator[list[Row]]:
    for rows in by_class.values():
        yield from (
            rows[start : start + CANDIDATES_PER_FORWARD] for start in range(0, len(rows), CANDIDATES_PER_FORWARD)
        )


def _cut_group(
    plan: RunPlan, shard: ClassShard, group: list[Row]
) -> tuple[list[Row], list[Tensor], list[tuple[str, str]]]:
    """Decodes a group: the rows that decode, with boxes, their patches, and reason and name of the others."""
    kept: list[Row] = []
    patches: list[Tensor] = []
    refused: list[tuple[str, str]] = []
    for row in group:
        try:
            image, boxes = _load(plan, shard, row)
        except RejectedImage as error:
            raise_if_missing(error, row, plan)
            refused.append((error.reason, row["source_uri"]))
            continue
        kept.append({**row, "boxes": boxes.flatten().tolist(), "scores_nats": []})
        if plan.config.selection == "realism":
            patches.append(cut_patches(image, boxes, plan.config.size // plan.config.factor))
    return kept, patches, refused


def _load_for_device(plan: RunPlan, shard: ClassShard, row: Row) -> tuple[Tensor | bytes, Tensor]:
    """Reads a candidate and draws its boxes; leaves it encoded where the device is to decode it."""
    if plan.config.decoder == "cpu":
        return _load(plan, shard, row)
    data = read_item(candidate_item(plan, shard, row))
    size = jpeg_size(data)
    if size is None:
        return _load(plan, shard, row)
    return data, _draw_boxes(plan, row, height=size[0], width=size[1])


def _load(plan: RunPlan, shard: ClassShard, row: Row) -> tuple[Tensor, Tensor]:
    """Decodes a candidate and draws its boxes; raises RejectedImage."""
    image = decode_image(read_item(candidate_item(plan, shard, row)))
    return image, _draw_boxes(plan, row, height=image.shape[1], width=image.shape[2])


def _draw_boxes(plan: RunPlan, row: Row, *, height: int, width: int) -> Tensor:
    config = plan.config
    if config.selection == "random":
        return torch.tensor([centre_box(height, width)])
    generator = counter_generator(config.seed, "crops", plan.classes[row["class_index"]].folder, row["key"])
    return draw_crop_boxes(height, width, generator, num_crops=config.num_crops, scale=(config.crop_scale_min, 1.0))


def _score_group(score: Callable[[Tensor, Tensor], Tensor], rows: list[Row], patches: list[Tensor]) -> None:
    """Scores all patches of a group in one forward pass and notes them in their rows."""
    if not patches:
        return
    num_crops = len(patches[0])
    indices = torch.tensor([row["class_index"] for row in rows]).repeat_interleave(num_crops)
    scores = score(torch.cat(patches), indices)
    for row, values in zip(rows, scores.view(len(rows), num_crops), strict=True):
        row["scores_nats"] = values.tolist()
