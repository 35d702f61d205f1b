"""Score crops: decode each candidate, draw its boxes, score its patches with the observer.

On the CPU every core takes a group of candidates from decoding to scores. On other devices, and in bfloat16, the cores
only decode (`rded_core.io.device.scoring`).
"""

from collections.abc import Iterator
from itertools import groupby
from typing import Any, cast

import torch
from torch import Tensor

from rded_core.io.device.devices import resolve_device, resolve_precision
from rded_core.io.device.scoring import ScoredClass
from rded_core.io.device.threads import one_torch_thread
from rded_core.io.formats.images import RejectedImage, decode_image, jpeg_size
from rded_core.io.formats.rows import CandidateRow, ClassedCandidate, ScoredCandidate
from rded_core.io.formats.schemas import CANDIDATES, SCORES
from rded_core.io.formats.tables import read_rows, write_rows
from rded_core.io.layout.units import ClassShard
from rded_core.io.parallel import map_ordered
from rded_core.io.run.candidates import read_candidate
from rded_core.io.run.records import Record
from rded_core.networks.canvas import CanvasNetwork
from rded_core.patches.crops import centre_box, cut_patches, draw_crop_boxes
from rded_core.patches.realism import score_patches
from rded_core.seeds import counter_generator
from tasks.patches.pixel_forms import form_settings
from tasks.run.networks import load_device_scorers, load_planned, load_scorer, num_workers
from tasks.run.plan import RunPlan
from tasks.run.results import Rejected, StageResult, count_missing
from tasks.run.versions import made_with
from tasks.run.worklist import Unit, Worklist
from tasks.runtime.gpu_slot import gpu_slot
from tasks.runtime.mirroring import files_of_shard
from tasks.runtime.progress import track
from tasks.runtime.stage_task import stage_task

STAGE = "realism"

CANDIDATES_PER_FORWARD = 4
"""Candidates of one class that share a forward pass. Fixed, so that scores do not depend on shards or workers."""

Scored = tuple[int, list[ScoredCandidate], Rejected]
"""A class index, the rows of its table, and its candidates that do not decode."""


@stage_task(STAGE, "score {shard.name} · {plan.config.short_name}", runs_network=True, files=files_of_shard)
def score_crops(plan: RunPlan, shard: ClassShard, candidates: StageResult) -> StageResult:
    """Writes the crop boxes and realism scores of every candidate that decodes; others are counted.

    Controls also decode and draw boxes, but score nothing.
    """
    records = candidates.records
    units = {index: _unit(plan, index, records.get(index)) for index in shard.indices}
    work = Worklist(
        units, lambda index: plan.scope("score", index), why=candidates.why, workers=num_workers(plan.config)
    )
    listed = {index: read_rows(plan.run.table("candidates", _name(plan, index)), CANDIDATES) for index in work.stale}
    score = _score_on_devices if _uses_devices(plan) else _score_in_groups
    device = plan.config.device if listed and plan.config.selection == "realism" else "cpu"
    with gpu_slot(device):
        for index, rows, rejected in score(plan, shard, listed) if listed else ():
            write_rows(plan.run.table(STAGE, _name(plan, index)), rows, SCORES)
            form = {"observer": network_form(plan)} if plan.config.selection == "realism" else {}
            versions = made_with(resolve_device(device))
            work.finish(index, {"usable": len(rows), **form, **_rounding(plan), **versions, "rejected": rejected})
    return work.result(STAGE, shard.name)


def _unit(plan: RunPlan, index: int, candidates: Record | None) -> Unit | None:
    if candidates is None:
        return None
    config, name = plan.config, _name(plan, index)
    fields = ("selection", "num_crops", "factor", "size", "crop_scale_min", "seed", "decoder")
    settings = {field: getattr(config, field) for field in fields}
    if config.selection == "realism":
        settings |= {"observer": plan.observer, "output": plan.outputs[index]}
    settings |= form_settings(plan, [(index, candidates)])

    def still_true(record: Record) -> str:
        exact = record.facts.get("exact_ranks", config.candidates_per_class)
        rounded = "" if exact >= config.candidates_per_class else f"only the best {exact} scores are float32's"
        return rounded or ("" if plan.scope("score", index).frozen else count_missing(record))

    return Unit(
        plan.run,
        STAGE,
        name,
        settings=settings,
        upstream={"candidates": candidates.facts["content"]},
        outputs=(plan.run.table(STAGE, name),),
        still_true=still_true,
    )


def _name(plan: RunPlan, index: int) -> str:
    return plan.unit(index)


def _rounding(plan: RunPlan) -> dict[str, Any]:
    """Returns the facts about rounded scores: their type, and how many of the best are float32's, in its order.

    They are not settings: the selection is float32's either way.
    """
    config = plan.config
    if config.selection != "realism":
        return {}
    dtype = resolve_precision(config.precision, resolve_device(config.device))
    return {} if dtype == torch.float32 else {"precision": "bfloat16", "exact_ranks": config.candidates_per_class}


def network_form(plan: RunPlan) -> str:
    """Returns a note on whether the observer runs in its fast form."""
    on_device = _uses_devices(plan)
    scorer = load_device_scorers(plan)[0] if on_device else load_scorer(plan)
    return "traced by torch.fx" if scorer.shortcut else "as it is (torch.fx cannot follow it)"


def _uses_devices(plan: RunPlan) -> bool:
    """Whether whole images are sent to a device; never for controls, which are not scored."""
    is_cpu = resolve_device(plan.config.device).type == "cpu"
    return plan.config.selection == "realism" and (not is_cpu or bool(_rounding(plan)))


def _score_on_devices(plan: RunPlan, shard: ClassShard, listed: dict[int, list[CandidateRow]]) -> Iterator[Scored]:
    """Scores whole classes, divided among the devices; yields each when it is done."""
    scorers = load_device_scorers(plan)
    workers = max(num_workers(plan.config) // len(scorers), 1)
    by_output = {plan.outputs[index]: (index, rows) for index, rows in listed.items()}
    classes = [
        (output, [cast("ClassedCandidate", {**row, "class_index": index}) for row in rows])
        for output, (index, rows) in by_output.items()
    ]

    def load(row: ClassedCandidate) -> tuple[Tensor | bytes, Tensor]:
        return _load_for_device(plan, row["class_index"], row)

    def share(number: int) -> Iterator[ScoredClass[ClassedCandidate]]:
        return scorers[number].score(classes[number :: len(scorers)], load, workers=workers)

    def work(number: int) -> list[ScoredClass[ClassedCandidate]]:
        return list(share(number))

    with one_torch_thread():
        # One device works in this thread, so that progress shows class by class; several work in a thread each.
        parts = map_ordered(work, range(len(scorers)), workers=len(scorers))
        done = share(0) if len(scorers) == 1 else (scored for part in parts for scored in part)
        for scored in track(done, total=len(classes), what=f"score {shard.name}", unit="class"):
            rows = [
                _scored(row, boxes, scores.tolist())
                for row, boxes, scores in zip(scored.rows, scored.boxes, scored.scores, strict=True)
            ]
            rejected = [(error.reason, row["source_uri"]) for row, error in scored.refused]
            yield by_output[scored.class_index][0], rows, rejected


def _score_in_groups(plan: RunPlan, shard: ClassShard, listed: dict[int, list[CandidateRow]]) -> Iterator[Scored]:
    """Decodes and scores groups of a class's candidates, one core per group; yields each class when it is done."""
    groups = [
        (index, list(group))
        for index, rows in listed.items()
        for _, group in groupby(rows, key=lambda row: row["position"] // CANDIDATES_PER_FORWARD)
    ]
    scorer = load_scorer(plan) if plan.config.selection == "realism" else None
    yield from ((index, [], []) for index, rows in listed.items() if not rows)

    def work(entry: tuple[int, list[CandidateRow]]) -> Scored:
        decoded, patches, rejected = cut_group(plan, *entry)
        if scorer is not None and patches:
            score_group(plan, scorer, entry[0], decoded, patches)
        return entry[0], decoded, rejected

    with one_torch_thread():
        outcomes = map_ordered(work, groups, workers=num_workers(plan.config))
        followed = track(outcomes, total=len(groups), what=f"score {shard.name}", unit="group")
        for index, parts in groupby(followed, key=lambda outcome: outcome[0]):
            rows: list[ScoredCandidate] = []
            rejected: Rejected = []
            for _, decoded, others in parts:
                rows += decoded
                rejected += others
            yield index, rows, rejected


def cut_group(
    plan: RunPlan, index: int, group: list[CandidateRow]
) -> tuple[list[ScoredCandidate], list[Tensor], Rejected]:
    """Returns the rows of a group that decode, with boxes; their patches; and reason and URI of the others."""
    decoded: list[ScoredCandidate] = []
    patches: list[Tensor] = []
    rejected: Rejected = []
    for row in group:
        try:
            image, boxes = _load(plan, index, row)
        except RejectedImage as error:
            rejected.append((error.reason, row["source_uri"]))
            continue
        decoded.append(_scored(row, boxes, []))
        if plan.config.selection == "realism":
            patches.append(cut_patches(image, boxes, plan.config.size // plan.config.factor))
    return decoded, patches, rejected


def _scored(row: CandidateRow, boxes: Tensor, scores_nats: list[float]) -> ScoredCandidate:
    """Returns a candidate's row with its boxes ``[m, 4]`` and scores."""
    return cast("ScoredCandidate", {**row, "boxes": boxes.flatten().tolist(), "scores_nats": scores_nats})


def _load_for_device(plan: RunPlan, index: int, row: CandidateRow) -> tuple[Tensor | bytes, Tensor]:
    """Reads a candidate and draws its boxes; leaves the image encoded if the device decodes it."""
    if plan.config.decoder == "cpu":
        return _load(plan, index, row)
    data = read_candidate(plan.run, _name(plan, index), row)
    size = jpeg_size(data)
    if size is None:
        return _load(plan, index, row)
    return data, _draw_boxes(plan, index, row, height=size[0], width=size[1])


def _load(plan: RunPlan, index: int, row: CandidateRow) -> tuple[Tensor, Tensor]:
    """Decodes a candidate and draws its boxes; raises RejectedImage."""
    image = decode_image(read_candidate(plan.run, _name(plan, index), row))
    return image, _draw_boxes(plan, index, row, height=image.shape[1], width=image.shape[2])


def _draw_boxes(plan: RunPlan, index: int, row: CandidateRow, *, height: int, width: int) -> Tensor:
    config = plan.config
    if config.selection == "random":
        return torch.tensor([centre_box(height, width)])
    generator = counter_generator(config.seed, "crops", plan.classes[index].folder, row["key"])
    return draw_crop_boxes(height, width, generator, num_crops=config.num_crops, scale=(config.crop_scale_min, 1.0))


def score_group(
    plan: RunPlan, scorer: CanvasNetwork, index: int, rows: list[ScoredCandidate], patches: list[Tensor]
) -> None:
    """Scores all patches of a group in one forward pass and writes the scores into their rows.

    The pass always has the same shape, and a candidate always its own place in it, so that a score does not depend on
    which other candidates of the group are present.
    """
    preprocessing = load_planned(plan, "observer").preprocessing
    num_crops = len(patches[0])
    filled = patches[0].new_zeros(CANDIDATES_PER_FORWARD, *patches[0].shape)
    slots = [row["position"] % CANDIDATES_PER_FORWARD for row in rows]
    for slot, cut in zip(slots, patches, strict=True):
        filled[slot] = cut
    outputs = torch.full((len(filled) * num_crops,), plan.outputs[index])
    scores = score_patches(scorer, filled.flatten(0, 1), outputs, mean=preprocessing.mean, std=preprocessing.std)
    for slot, row in zip(slots, rows, strict=True):
        row["scores_nats"] = scores.view(len(filled), num_crops)[slot].tolist()
