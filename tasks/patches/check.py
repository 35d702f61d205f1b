"""Measure the observer and teacher on real source images, before they score or label anything."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor

from rded_core.errors import InputError
from rded_core.io.device.memory import input_error_if_full
from rded_core.io.device.threads import one_torch_thread
from rded_core.io.formats.images import RejectedImage
from rded_core.io.formats.rows import CandidateRow
from rded_core.io.formats.schemas import CANDIDATES
from rded_core.io.formats.sealed import digest_of
from rded_core.io.formats.tables import iterate_rows
from rded_core.io.parallel import map_ordered
from rded_core.io.run.candidates import read_candidate
from rded_core.io.training.real_batches import fit_view
from rded_core.networks.preprocessing import Preprocessing
from rded_core.patches.realism import classify
from rded_core.text.wording import counted
from rded_core.training.metrics import chance_bound, count_correct
from tasks.patches.pixel_forms import form_settings
from tasks.run.networks import device_of, fast_form, load_planned, num_workers
from tasks.run.plan import RunPlan
from tasks.run.results import StageResult
from tasks.run.worklist import Unit, Worklist
from tasks.runtime.gpu_slot import gpu_slot
from tasks.runtime.logs import run_logger
from tasks.runtime.mirroring import files_of_candidates
from tasks.runtime.progress import track
from tasks.runtime.stage_task import stage_task

STAGE = "observe"
Role = Literal["observer", "teacher"]
Entry = tuple[int, CandidateRow]
"""A class index and the row of one of its candidates."""

SAMPLE_SHARE = 0.1
"""Share of the candidates to measure, spread evenly over the classes (at least one per class)."""

SAMPLE_IMAGES = (100, 500)
"""Minimum and maximum number of candidates to measure, if the classes have as many."""

IMAGES_PER_FORWARD = 8

MIN_IMAGES_TO_LOG_CLASS = 5
"""With fewer images of a class, the accuracy on it is not worth logging."""


@stage_task(STAGE, "check {role} · {plan.config.short_name}", runs_network=True, files=files_of_candidates)
def check_network(plan: RunPlan, role: Role, candidates: list[StageResult]) -> StageResult:
    """Measures the observer's or teacher's top-1 on a sample of whole candidate images, overall and per class.

    Raises:
        InputError: the network is no better than chance, which means a wrong class order, preprocessing or weights
            file (unless the config sets ``force``); or no class has candidates.
    """
    records = {index: record for result in candidates for index, record in result.records.items()}
    if not records:
        raise InputError(
            f"no class in {(plan.run.owner or plan.run).root} has candidates yet, and this run may not draw any; "
            "run rded distill there without --only-classes"
        )
    per_class = sample_per_class(sum(record.facts["candidates"] for record in records.values()), len(plan.classes))
    drawn = digest_of([[plan.classes[index].folder, record.facts["content"]] for index, record in records.items()])
    unit = Unit(
        plan.run,
        STAGE,
        role,
        settings={
            "size": plan.config.size,
            "per_class": per_class,
            **plan.network_settings(role),
            **form_settings(plan, records.items()),
        },
        upstream={"candidates": drawn},
    )
    work = Worklist({0: unit}, lambda _: plan.scope("check"))
    if work.stale:
        with gpu_slot(plan.config.device):
            work.finish(0, _measure(plan, role, per_class, sorted(records)))
    result = work.result(STAGE, role)
    _judge(plan, role, per_class, work.records[0].facts)
    return result


def _judge(plan: RunPlan, role: Role, per_class: int, facts: dict[str, Any]) -> None:
    """Logs a network's accuracy on the source; raises InputError if it is no better than chance."""
    top1, bound, count = facts["top1"], facts["chance_bound"], facts["images"]
    worst = sorted(facts["by_class"].items(), key=lambda entry: entry[1])[:3]
    listed = "; worst classes: " + ", ".join(f"{name} {share:.0%}" for name, share in worst)
    suffix = listed if per_class >= MIN_IMAGES_TO_LOG_CLASS else ""
    run_logger().info("%s's top-1 on %d candidates: %.1f %%%s", role, count, 100 * top1, suffix)
    if top1 <= bound and not plan.config.force:
        raise InputError(
            f"the {role}'s top-1 on {count} source images is {top1:.1%}, no better than chance (guessing among "
            f"{len(plan.classes)} classes reaches up to {bound:.1%}); check class order, weights and preprocessing, "
            "or continue with --force"
        )


def chance_notes(checks: list[StageResult]) -> list[str]:
    """Returns a note for each network that is no better than chance; only with ``force`` does a run get that far."""
    records = [record for result in checks for record in result.records.values()]
    return [
        f"the {record.unit} is right on {record.facts['top1']:.1%} of {counted(record.facts['images'], 'candidate')}, "
        "no better than chance: what it chose or labelled means little"
        for record in records
        if record.facts["top1"] <= record.facts["chance_bound"]
    ]


def sample_per_class(num_candidates: int, num_classes: int) -> int:
    """Returns how many candidates of each class to measure: a tenth, within bounds for the whole run."""
    fewest, most = SAMPLE_IMAGES
    wanted = min(max(round(SAMPLE_SHARE * num_candidates), fewest), most)
    return max(wanted // num_classes, 1)


@input_error_if_full("checking a network on a few images at a time")
def _measure(plan: RunPlan, role: Role, per_class: int, indices: list[int]) -> dict[str, Any]:
    network = load_planned(plan, role)
    device = device_of(network)
    preprocessing = network.preprocessing
    classifier = fast_form(network.classifier, patch_px=plan.config.size, size=plan.config.size)

    def measure(group: list[Entry]) -> tuple[list[int], Tensor]:
        decoded = [
            (index, view) for index, row in group if (view := _view(plan, index, row, preprocessing)) is not None
        ]
        if not decoded:
            return [], torch.empty(0, len(plan.classes))
        views = torch.stack([view for _, view in decoded]).to(device)
        logits = classify(classifier, views, mean=preprocessing.mean, std=preprocessing.std)
        return [index for index, _ in decoded], logits.cpu()

    entries = list(_sample(plan, per_class, indices))
    groups = [entries[start : start + IMAGES_PER_FORWARD] for start in range(0, len(entries), IMAGES_PER_FORWARD)]
    with one_torch_thread():
        outcomes = map_ordered(measure, groups, workers=num_workers(plan.config) if device.type == "cpu" else 1)
        measured = list(track(outcomes, total=len(groups), what=f"check {role}"))
    return _summarise(plan, [index for indices, _ in measured for index in indices], [part for _, part in measured])


def _sample(plan: RunPlan, per_class: int, indices: list[int]) -> Iterator[Entry]:
    """Yields the first candidates of each class."""
    for index in indices:
        table = plan.run.table("candidates", plan.unit(index))
        yield from ((index, row) for row in islice(iterate_rows(table, CANDIDATES, together=per_class), per_class))


def _view(plan: RunPlan, index: int, row: CandidateRow, preprocessing: Preprocessing) -> Tensor | None:
    """Returns a candidate's whole image as the network was trained to see it; None if it does not decode."""
    try:
        data = read_candidate(plan.run, plan.unit(index), row)
        return fit_view(data, plan.config.size, interpolation=preprocessing.interpolation)
    except RejectedImage:
        return None  # the score stage counts it


def _summarise(plan: RunPlan, indices: list[int], parts: list[Tensor]) -> dict[str, Any]:
    if not indices:
        raise InputError(f"no candidate of {plan.config.source} decodes; check the images")
    logits, targets = torch.cat(parts), torch.tensor(indices)
    shares = {
        label.folder: count_correct(logits[targets == label.index], targets[targets == label.index], top=1)
        / int((targets == label.index).sum())
        for label in plan.classes
        if bool((targets == label.index).any())
    }
    return {
        "images": len(indices),
        "top1": count_correct(logits, targets, top=1) / len(indices),
        "chance_bound": chance_bound(len(plan.classes), len(indices)),
        "by_class": shares,
    }
