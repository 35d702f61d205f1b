"""Measure the observer and teacher on real source images, before they score or label anything."""

from collections.abc import Callable, Iterator
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
from rded_core.text.wording import counted, percent
from rded_core.training.confusions import ENOUGH_IMAGES, confusion_counts, missed_classes, taken_classes
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

MeasureAll = Callable[[list[Entry]], tuple[Tensor, Tensor]]
"""Returns the logits and class indices of those candidates that decode."""

SAMPLE_SHARE = 0.1
"""Share of the candidates to measure, spread evenly over the classes (at least one per class)."""

SAMPLE_IMAGES = (100, 500)
"""Minimum and maximum number of candidates to measure, if the classes have as many."""

IMAGES_PER_FORWARD = 8

Taken = tuple[str, str, int, int]
"""A class's folder, that of the class it is taken for, how many of its images are, and how many were measured."""

MAX_NAMED = 5
"""Classes that an error names."""

MIN_IMAGES_TO_LOG_CLASS = 5
"""With fewer images of a class, the accuracy on it is not worth logging."""


@stage_task(STAGE, "check {role} · {plan.config.short_name}", runs_network=True, files=files_of_candidates)
def check_network(plan: RunPlan, role: Role, candidates: list[StageResult]) -> StageResult:
    """Measures the observer's or teacher's top-1 on a sample of whole candidate images, overall and per class.

    Raises:
        InputError: the network is no better than chance, which means a wrong class order, preprocessing or weights
            file, or takes one class for another (`confusions.taken_classes`), as if two outputs were exchanged; unless
            the config sets ``force``. Or no class has candidates.
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
    listed = "; worst classes: " + ", ".join(f"{name} {percent(share, 0)}" for name, share in worst)
    suffix = listed if per_class >= MIN_IMAGES_TO_LOG_CLASS else ""
    run_logger().info("%s's top-1 on %d candidates: %s%s", role, count, percent(top1), suffix)
    if top1 <= bound and not plan.config.force:
        remedy = "check class order, weights and preprocessing"
        if _are_too_few(facts, len(plan.classes)):
            remedy = f"add images (with {SAMPLE_IMAGES[0]}, such a top-1 is enough)"
        raise InputError(
            f"the {role} is right on {percent(top1)} of {counted(count, 'source image')}, "
            f"{_compare_with_chance(facts, len(plan.classes))} (guessing among {len(plan.classes)} classes reaches up "
            f"to {percent(bound)}); {remedy}, or continue with --force"
        )
    _judge_classes(plan, role, facts.get("taken", []))


def _are_too_few(facts: dict[str, Any], num_classes: int) -> bool:
    """Whether a top-1 that is no better than chance on so few images would be better on `SAMPLE_IMAGES`."""
    return facts["top1"] > chance_bound(num_classes, SAMPLE_IMAGES[0])


def _compare_with_chance(facts: dict[str, Any], num_classes: int) -> str:
    return "too few to tell it from chance" if _are_too_few(facts, num_classes) else "no better than chance"


def _judge_classes(plan: RunPlan, role: Role, taken: list[Taken]) -> None:
    """Logs each class that a network takes for another, and raises InputError if there is one."""
    for each in taken:
        run_logger().warning("the %s takes %s", role, _describe_taken(each))
    if taken and not plan.config.force:
        more = f" and {len(taken) - MAX_NAMED} more" if len(taken) > MAX_NAMED else ""
        raise InputError(
            f"the {role} takes {', '.join(map(_describe_taken, taken[:MAX_NAMED]))}{more}, as if outputs or labels "
            f"were exchanged; check the class order (--{role}-classes FILE names the outputs), or continue with --force"
        )


def _describe_taken(taken: Taken) -> str:
    name, other, num_taken, num_images = taken
    return f"class {name!r} for {other!r} ({num_taken} of {counted(num_images, 'image')})"


def check_notes(checks: list[StageResult]) -> list[str]:
    """Returns a note for each fault of a network with which only ``force`` lets a run go on."""
    return [*chance_notes(checks), *taken_notes(checks)]


def taken_notes(checks: list[StageResult]) -> list[str]:
    """Returns a note for each class that a network takes for another."""
    records = [record for result in checks for record in result.records.values()]
    return [
        f"the {record.unit} takes {_describe_taken(each)}: what it chose or labelled of the one is of the other"
        for record in records
        for each in record.facts.get("taken", [])
    ]


def chance_notes(checks: list[StageResult]) -> list[str]:
    """Returns a note for each network that is no better than chance; only with ``force`` does a run get that far."""
    records = [record for result in checks for record in result.records.values()]
    return [
        f"the {record.unit} is right on {percent(record.facts['top1'])} of "
        f"{counted(record.facts['images'], 'candidate')}, "
        f"{_compare_with_chance(record.facts, len(record.facts['by_class']))}: what it chose or labelled means little"
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

    def measure_all(entries: list[Entry]) -> tuple[Tensor, Tensor]:
        groups = [entries[start : start + IMAGES_PER_FORWARD] for start in range(0, len(entries), IMAGES_PER_FORWARD)]
        with one_torch_thread():
            outcomes = map_ordered(measure, groups, workers=num_workers(plan.config) if device.type == "cpu" else 1)
            measured = list(track(outcomes, total=len(groups), what=f"check {role}", unit="batch"))
        targets = torch.tensor([index for indices, _ in measured for index in indices], dtype=torch.long)
        return torch.cat([torch.empty(0, len(plan.classes)), *(part for _, part in measured)]), targets

    logits, targets = measure_all(list(_sample(plan, per_class, indices)))
    facts = _summarise(plan, logits, targets)
    if facts["top1"] > facts["chance_bound"] and (
        taken := _find_taken(plan, confusion_counts(logits, targets), dict.fromkeys(indices, per_class), measure_all)
    ):
        facts["taken"] = taken
    return facts


def _find_taken(plan: RunPlan, counts: Tensor, tried: dict[int, int], measure_all: MeasureAll) -> list[Taken]:
    """Returns the classes that the network takes for another, after a look at more images of those that it misses.

    `tried` holds how many candidates of each class are in `counts`.
    """
    while more := _more_of_missed(plan, counts, tried):
        counts = counts + confusion_counts(*measure_all(more))
    folders = [label.folder for label in plan.classes]
    return [
        (folders[each.index], folders[each.other], each.num_taken, each.num_images) for each in taken_classes(counts)
    ]


def _more_of_missed(plan: RunPlan, counts: Tensor, tried: dict[int, int]) -> list[Entry]:
    """Returns further candidates of missed classes, as many as were tried, up to `ENOUGH_IMAGES` of each."""
    entries: list[Entry] = []
    for index in missed_classes(counts):
        first = tried[index]
        if first < ENOUGH_IMAGES:
            tried[index] = min(2 * first, ENOUGH_IMAGES)
            entries += list(_sample(plan, tried[index], [index]))[first:]
    return entries


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


def _summarise(plan: RunPlan, logits: Tensor, targets: Tensor) -> dict[str, Any]:
    if not len(targets):
        raise InputError(f"no candidate of {plan.config.source} decodes; check the images")
    shares = {
        label.folder: count_correct(logits[targets == label.index], targets[targets == label.index], top=1)
        / int((targets == label.index).sum())
        for label in plan.classes
        if bool((targets == label.index).any())
    }
    return {
        "images": len(targets),
        "top1": count_correct(logits, targets, top=1) / len(targets),
        "chance_bound": chance_bound(len(plan.classes), len(targets)),
        "by_class": shares,
    }
