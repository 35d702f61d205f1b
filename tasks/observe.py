"""Measure observer and teacher on real images of the source before anything is scored or labelled with them."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal

import torch
from prefect import task
from torch import Tensor

from rded_core.errors import InputError
from rded_core.io.batches import fit_view
from rded_core.io.images import RejectedImage
from rded_core.io.manifest import Record
from rded_core.io.out_of_memory import told_if_full
from rded_core.io.parallel import map_ordered, one_torch_thread
from rded_core.io.paths import ClassShard
from rded_core.io.sources import read_item
from rded_core.io.tables import CANDIDATES, read_rows_by_class
from rded_core.io.weights import Preprocessing
from rded_core.metrics import chance_bound, count_correct
from rded_core.realism import classify
from tasks.candidates import candidate_item, raise_if_missing
from tasks.networks import device_of, fast_form, load_observer, load_teacher, num_workers
from tasks.policies import STAGE_POLICY
from tasks.prepare import RunPlan
from tasks.progress import run_logger, track
from tasks.units import run_unit

STAGE = "observe"
Role = Literal["observer", "teacher"]
Entry = tuple[ClassShard, dict[str, Any]]
"""A candidate's row and the shard it lies in."""

SAMPLE_SHARE = 0.1
"""Share of the candidates that is measured, spread evenly over the classes (at least one a class)."""

SAMPLE_IMAGES = (100, 500)
"""Fewest and most candidates measured, where a class has them."""

IMAGES_PER_FORWARD = 8

TELLING = 5
"""Images of a class below which its own accuracy says nothing."""


@task(name=STAGE, task_run_name="check {role}", **STAGE_POLICY)
def check_network(plan: RunPlan, role: Role, candidates: list[Record]) -> Record:
    """Measures the observer's or teacher's top-1 on a sample of the candidates, whole images, over all and by class.

    Raises:
        InputError: it is no better than chance, which means a wrong class order, preprocessing or weights file
            (unless the config says ``force``).
    """
    per_class = sample_per_class(sum(record.facts["candidates"] for record in candidates), len(plan.classes))
    record = run_unit(
        plan.run,
        STAGE,
        role,
        settings={"size": plan.config.size, "per_class": per_class},
        upstream=[plan.digest_of(role), *(record.outputs_digest() for record in candidates)],
        outputs=[],
        produce=lambda: _measure(plan, role, per_class),
    )
    top1, bound, count = record.facts["top1"], record.facts["chance_bound"], record.facts["images"]
    worst = sorted(record.facts["by_class"].items(), key=lambda entry: entry[1])[:3]
    shown = "; worst classes: " + ", ".join(f"{name} {share:.0%}" for name, share in worst)
    told = shown if per_class >= TELLING else ""
    run_logger().info("%s's top-1 on %d candidates: %.1f %%%s", role, count, 100 * top1, told)
    if top1 <= bound and not plan.config.force:
        raise InputError(
            f"the {role} is right on {top1:.1%} of {count} source images, no better than chance (guessing among "
            f"{len(plan.classes)} classes reaches up to {bound:.1%} of so many); check class order, weights and "
            "preprocessing, or go on with --force"
        )
    return record


def sample_per_class(num_candidates: int, num_classes: int) -> int:
    """Returns how many candidates of each class are measured: a tenth, within bounds that hold for the whole run."""
    fewest, most = SAMPLE_IMAGES
    wanted = min(max(round(SAMPLE_SHARE * num_candidates), fewest), most)
    return max(wanted // num_classes, 1)


@told_if_full("the check of a network, a few images at a time,")
def _measure(plan: RunPlan, role: Role, per_class: int) -> dict[str, Any]:
    network = (load_observer if role == "observer" else load_teacher)(plan.config, plan.classes)
    device = device_of(network)
    given = network.preprocessing
    classifier = fast_form(network, patch_px=plan.config.size, size=plan.config.size)

    def look(group: list[Entry]) -> tuple[list[int], Tensor]:
        seen = [
            (row["class_index"], view) for shard, row in group if (view := _view(plan, shard, row, given)) is not None
        ]
        if not seen:
            return [], torch.empty(0, len(plan.classes))
        views = torch.stack([view for _, view in seen]).to(device)
        return [index for index, _ in seen], classify(classifier, views, mean=given.mean, std=given.std).cpu()

    entries = list(_sample(plan, per_class))
    groups = [entries[start : start + IMAGES_PER_FORWARD] for start in range(0, len(entries), IMAGES_PER_FORWARD)]
    with one_torch_thread():
        outcomes = map_ordered(look, groups, workers=num_workers(plan.config) if device.type == "cpu" else 1)
        found = list(track(outcomes, total=len(groups), what=f"check {role}"))
    return _summarise(
        plan, [index for indices, _ in found for index in indices], torch.cat([part for _, part in found])
    )


def _sample(plan: RunPlan, per_class: int) -> Iterator[Entry]:
    """Yields the first candidates of each class."""
    for shard in plan.shards:
        table = plan.run.table("candidates", shard.name)
        for _, rows in read_rows_by_class(table, CANDIDATES, range(shard.start, shard.stop), together=per_class):
            yield from ((shard, row) for row in islice(rows, per_class))


def _view(plan: RunPlan, shard: ClassShard, row: dict[str, Any], given: Preprocessing) -> Tensor | None:
    """Returns a candidate's whole image as the network was trained to see it; None where it does not decode."""
    try:
        data = read_item(candidate_item(plan, shard, row))
        return fit_view(data, plan.config.size, interpolation=given.interpolation)
    except RejectedImage as error:
        raise_if_missing(error, row, plan)
        return None  # counted where it is scored


def _summarise(plan: RunPlan, indices: list[int], logits: Tensor) -> dict[str, Any]:
    if not indices:
        raise InputError(f"no candidate of {plan.config.source} decodes; check the images")
    targets = torch.tensor(indices)
    shares = {
        label.folder: count_correct(logits[targets == label.index], targets[targets == label.index], top=1)
        / max(int((targets == label.index).sum()), 1)
        for label in plan.classes
    }
    return {
        "images": len(indices),
        "top1": count_correct(logits, targets, top=1) / len(indices),
        "chance_bound": chance_bound(len(plan.classes), len(indices)),
        "by_class": shares,
    }
