"""Measure observer and teacher on real images of the source before anything is scored or labelled with them."""

from typing import Any, Literal

import torch
from prefect import task
from torch import Tensor

from rded_core.errors import InputError
from rded_core.io.batches import fit_view
from rded_core.io.images import RejectedImage
from rded_core.io.manifest import Record
from rded_core.io.parallel import map_ordered, one_torch_thread
from rded_core.io.paths import ClassShard
from rded_core.io.sources import read_item
from rded_core.io.tables import CANDIDATES, read_rows
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
SAMPLE_IMAGES = 500
"""Candidates measured in all, spread evenly over the classes (at least two a class)."""


@task(name=STAGE, task_run_name="check {role}", **STAGE_POLICY)
def check_network(plan: RunPlan, role: Role, candidates: list[Record]) -> Record:
    """Measures the observer's or teacher's top-1 on a sample of the candidates, whole images, over all and by class.

    Raises:
        InputError: it is no better than chance, which means a wrong class order, preprocessing or weights file
            (unless the config says ``force``).
    """
    record = run_unit(
        plan.run,
        STAGE,
        role,
        settings={"size": plan.config.size, "sample": SAMPLE_IMAGES},
        upstream=[plan.digest_of(role), *(record.outputs_digest() for record in candidates)],
        outputs=[],
        produce=lambda: _measure(plan, role),
    )
    top1, bound, count = record.facts["top1"], record.facts["chance_bound"], record.facts["images"]
    worst = sorted(record.facts["by_class"].items(), key=lambda entry: entry[1])[:3]
    shown = ", ".join(f"{name} {share:.0%}" for name, share in worst)
    run_logger().info("%s's top-1 on %d candidates: %.1f %%; worst classes: %s", role, count, 100 * top1, shown)
    if top1 <= bound and not plan.config.force:
        raise InputError(
            f"the {role} is right on {top1:.1%} of {count} source images, no better than chance (guessing among "
            f"{len(plan.classes)} classes reaches up to {bound:.1%} of so many); check class order, weights and "
            "preprocessing, or go on with --force"
        )
    return record


def _measure(plan: RunPlan, role: Role) -> dict[str, Any]:
    per_class = max(SAMPLE_IMAGES // len(plan.classes), 2)
    network = (load_observer if role == "observer" else load_teacher)(plan.config, plan.classes)
    device = device_of(network)
    given = network.preprocessing
    classifier = fast_form(network, patch_px=plan.config.size, size=plan.config.size)

    def work(entry: tuple[ClassShard, dict[str, Any]]) -> tuple[int, Tensor] | None:
        shard, row = entry
        try:
            data = read_item(candidate_item(plan, shard, row))
            view = fit_view(data, plan.config.size, interpolation=given.interpolation)[None].to(device)
        except RejectedImage as error:
            raise_if_missing(error, row, plan)
            return None  # counted where it is scored
        return row["class_index"], classify(classifier, view, mean=given.mean, std=given.std).cpu()

    entries = [
        (shard, row)
        for shard in plan.shards
        for row in read_rows(plan.run.table("candidates", shard.name), CANDIDATES)
        if row["position"] < per_class
    ]
    with one_torch_thread():
        outcomes = map_ordered(work, entries, workers=num_workers(plan.config) if device.type == "cpu" else 1)
        found = [outcome for outcome in track(outcomes, total=len(entries), what=f"check {role}") if outcome]
    return _summarise(plan, found)


def _summarise(plan: RunPlan, found: list[tuple[int, Tensor]]) -> dict[str, Any]:
    if not found:
        raise InputError(f"no candidate of {plan.config.source} decodes; check the images")
    targets = torch.tensor([index for index, _ in found])
    logits = torch.cat([row for _, row in found])
    shares = {
        label.folder: count_correct(logits[targets == label.index], targets[targets == label.index], top=1)
        / max(int((targets == label.index).sum()), 1)
        for label in plan.classes
    }
    return {
        "images": len(found),
        "top1": count_correct(logits, targets, top=1) / len(found),
        "chance_bound": chance_bound(len(plan.classes), len(found)),
        "by_class": shares,
    }
