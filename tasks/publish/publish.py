"""Assembles the dataset from the stages' outputs and swaps it into place."""

from collections import Counter
from collections.abc import Iterator
from itertools import groupby, islice
from math import ceil
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

from rded_core import __version__
from rded_core.errors import InputError
from rded_core.io.dataset.images import encode_sample, read_images, read_samples
from rded_core.io.formats.schemas import LINEAGE, SELECTED
from rded_core.io.formats.sealed import digest_of
from rded_core.io.formats.shards import Sample, write_shard
from rded_core.io.formats.sums import write_sums
from rded_core.io.formats.tables import read_rows, write_rows
from rded_core.io.formats.teacher_head import write_head
from rded_core.io.labels.choices import describe_excess
from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.layout.run import RunFolder
from rded_core.io.layout.units import block_name, class_unit, image_key
from rded_core.io.remote.places import as_shown
from rded_core.io.report.card import write_readme
from rded_core.io.report.croissant import write_croissant
from rded_core.io.report.page import write_report
from rded_core.io.report.pictures import MAX_ROWS
from rded_core.io.run.records import Record
from rded_core.io.storage.atomic import write_json
from rded_core.io.storage.files import clear_folder, file_digest, link_or_copy, os_errors_as_input_errors
from rded_core.io.storage.swap import swap_folder
from rded_core.io.verify.findings import Findings
from rded_core.io.verify.sums import keep_foreign, sum_checks
from rded_core.labels.codecs import FeatureCodec
from tasks.labels.label import label_blocks, label_units
from tasks.labels.labeller import images_digest, label_codec
from tasks.labels.reuse import drop_old_labels, drop_old_notes, key_images, note_images
from tasks.patches.check import check_notes
from tasks.publish.classes import ClassPatches, class_entries, describe_few, describe_shortages
from tasks.publish.recipe import describe_recipe
from tasks.publish.results import StageResults
from tasks.publish.summary import describe_missing, describe_work
from tasks.run.describe import describe_network
from tasks.run.networks import load_planned
from tasks.run.plan import RunPlan
from tasks.run.results import StageResult, squeeze_records
from tasks.run.worklist import Unit, Worklist
from tasks.runtime.logs import run_logger
from tasks.runtime.stage_task import stage_task

STAGE = "publish"

Entry = TypeVar("Entry")

IMAGES_PER_TAR = 1000
"""Images in one published tar; fixed, so that tars do not depend on the run's class shards."""


@stage_task("publish", "publish · {plan.config.short_name}")
def publish(plan: RunPlan, results: StageResults) -> Any:
    """Writes images, labels, lineage, descriptions, report and checksums, then swaps them into ``dataset/`` as a whole.

    If a class has no images yet (``only_classes`` left it out), nothing is published, and the summary says so.

    Returns:
        A record: folder, counts of images and classes, bytes of images and labels, the observer's top-1, and the
        numbers of units reused and made.
    """
    squeezed = squeeze_records(results.images)
    missing = [label.folder for label in plan.classes if label.index not in squeezed]
    if missing and plan.run.owner is not None:
        raise InputError(
            f"{plan.run.owner.root} lacks the candidates of {len(missing)} classes ({missing[0]} ...), which its "
            f"controls need; run rded repair {plan.run.owner.root}, or rded distill again"
        )
    if missing:
        why = describe_missing(plan, results.in_order())
        run_logger().warning("nothing published: %s; run without --only-classes", why)
        work = describe_work(plan, results.in_order())
        return {"out": plan.config.out, "dataset": None, "missing": missing, "why_missing": why, "work": work}
    work = Worklist({0: _unit(plan, results, squeezed)}, lambda _: plan.scope("publish"))
    with os_errors_as_input_errors(plan.run.staged_dataset):
        if work.stale:
            work.finish(0, _publish(plan, results, squeezed))
        note_images(plan.run, images_digest(plan, squeezed), key_images(squeezed))
        drop_old_notes(plan.run, images_digest(plan, squeezed))
        drop_old_labels(plan.run, label_units(results.chosen))
    for note in work.records[0].facts["notes"]:
        run_logger().warning(note)
    stages = [*results.in_order(), StageResult(STAGE, work.done)]
    facts = {"out": plan.config.out, "dataset": as_shown(plan.run.dataset), "missing": []}
    facts["warnings"] = check_notes(results.checks)
    return work.end_with({**work.records[0].facts["summary"], **facts, "work": describe_work(plan, stages)})


def _unit(plan: RunPlan, results: StageResults, squeezed: dict[int, Record]) -> Unit:
    """Returns the unit whose output is the dataset folder; its record holds the digest of SHA256SUMS."""
    read_by = _records([*results.candidates, *results.scores, *results.images])
    networks = (load_planned(plan, "observer"), load_planned(plan, "teacher"))
    return Unit(
        plan.run,
        STAGE,
        "dataset",
        settings={"settings": plan.identity, "rded": __version__},
        upstream={
            "images": images_digest(plan, squeezed),
            "selection": digest_of([record.upstream["selection"] for record in squeezed.values()]),
            "labels": digest_of([record.outputs for record in _records(results.labels)]),
            "observer": digest_of([record.facts for record in _records(results.checks)]),
            "networks": digest_of([describe_network(network) for network in networks]),
            "candidates": digest_of([[record.facts.get("usable"), record.facts["rejected"]] for record in read_by]),
        },
        still_true=lambda record: fault_of_dataset(plan.run, record),
    )


def fault_of_dataset(run: RunFolder, record: Record) -> str:
    """Returns what is wrong with the dataset folder; empty if nothing."""
    findings = Findings(run.root, remedy="")
    for check in sum_checks(DatasetFolder(run.dataset), record.facts["sums"]):
        check(findings)
    kinds = [fault.kind for fault in findings.faults]
    return f"dataset {kinds[0]}" if kinds else ""


def _records(results: list[StageResult]) -> list[Record]:
    return [record for result in results for record in result.records.values()]


def _publish(plan: RunPlan, results: StageResults, squeezed: dict[int, Record]) -> dict[str, Any]:
    """Builds the dataset and returns the facts for its record."""
    folder = DatasetFolder(plan.run.staged_dataset)
    clear_folder(folder.root)
    patches = _publish_images(plan, folder, squeezed)
    chosen = results.chosen
    assert chosen is not None  # all classes have images
    for block in label_blocks(chosen):
        name = block_name(block)
        link_or_copy(plan.run.table("soft_labels", name), folder.soft_labels(name))
    codec = label_codec(plan, chosen.codec)
    if isinstance(codec, FeatureCodec):
        write_head(folder.teacher_head, codec.weight, codec.bias)
    classes = class_entries(plan, [*results.candidates, *results.scores, *results.images], patches)
    num_images = sum(entry["num_images"] for entry in classes)
    top1 = results.checks[0].records[0].facts["top1"]
    recipe = describe_recipe(plan, chosen, num_images=num_images, observer_top1=top1)
    published = ("index", "name", "wnid", "folder", "num_source", "num_candidates", "num_images")
    write_json(folder.classes, [{name: entry[name] for name in published} for entry in classes])
    write_json(folder.recipe, recipe)
    write_readme(folder, recipe=recipe, classes=classes)
    write_croissant(folder, recipe=recipe, name="distilled")
    harmless = describe_few(plan, classes)
    notes = [
        *check_notes(results.checks),
        *harmless,
        *describe_shortages(plan, classes),
        *describe_excess(chosen.why, folder.label_bytes(), "--label-budget"),
    ]
    write_report(
        folder,
        stored=read_images(_first_tars(folder, classes), max_class=MAX_ROWS),
        classes=classes,
        recipe=recipe,
        scores=[score for each in patches.values() for score in each.scores],
        notes=notes,
        harmless=harmless,
    )
    write_sums(folder)
    facts = {
        "sums": file_digest(folder.sums),
        "notes": notes,
        "summary": _summary(plan, folder, classes, recipe),
    }
    keep_foreign(DatasetFolder(plan.run.dataset), folder)
    swap_folder(folder.root, plan.run.dataset)
    return facts


def _first_tars(folder: DatasetFolder, classes: list[dict[str, Any]]) -> list[Path]:
    """Returns the tars that hold the classes in the report; tars are in class order."""
    num_images = sum(entry["num_images"] for entry in classes[:MAX_ROWS])
    return folder.image_tars()[: ceil(num_images / IMAGES_PER_TAR)]


def _publish_images(plan: RunPlan, folder: DatasetFolder, squeezed: dict[int, Record]) -> dict[int, ClassPatches]:
    """Writes image tars and one lineage table for each; returns the images and scores of each class."""
    by_class = {label.index: ClassPatches() for label in plan.classes}
    images = (image for index in squeezed for image in _images_of(plan, index))
    for number, group in enumerate(_grouped(images, IMAGES_PER_TAR)):
        write_shard(folder.images(number), (sample for sample, _ in group))
        write_rows(folder.lineage(number), [row for _, rows in group for row in rows], LINEAGE)
        for _, rows in group:
            patches = by_class[rows[0]["class_index"]]
            patches.num_images += 1
            patches.scores += (row["score_nats"] for row in rows if row["score_nats"] is not None)
    return by_class


def _images_of(plan: RunPlan, index: int) -> Iterator[tuple[Sample, list[dict[str, Any]]]]:
    """Yields each image of a class as it is published, with its rows of lineage."""
    label = plan.classes[index]
    name = class_unit(label.folder)
    selected = groupby(read_rows(plan.run.table("selection", name), SELECTED), key=itemgetter("number"))
    stored = read_samples([plan.run.tar("squeeze", name)])
    for (_, _, files), (number, group) in zip(stored, selected, strict=True):
        key = image_key(index, number)
        rows: list[dict[str, Any]] = [{**row, "key": key, "class_index": index} for row in group]
        yield encode_sample(key, files, label=label, source_uris=[row["source_uri"] for row in rows]), rows


def _grouped(entries: Iterator[Entry], size: int) -> Iterator[list[Entry]]:
    """Yields lists of `size` entries; the last may be shorter."""
    while group := list(islice(entries, size)):
        yield group


def _summary(
    plan: RunPlan, folder: DatasetFolder, classes: list[dict[str, Any]], recipe: dict[str, Any]
) -> dict[str, Any]:
    return {
        "num_images": sum(entry["num_images"] for entry in classes),
        "num_classes": len(plan.classes),
        "num_source": sum(entry["num_source"] for entry in classes),
        "rejected": dict(sum((Counter(entry["rejected"]) for entry in classes), Counter[str]())),
        "image_bytes": sum(path.stat().st_size for path in folder.image_tars()),
        "label_bytes": folder.label_bytes(),
        "label_epochs": recipe["label_epochs"],
        "training_epochs": recipe["epochs"],
        "label_codec": recipe["label_codec"],
        "observer_top1": recipe["observer"]["top1"],
    }
