"""Put the dataset together from the stages' outputs and swap it into place."""

import statistics
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby, islice
from math import ceil
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

from prefect import task

from rded_core.io.dataset_card import write_croissant, write_json, write_readme, write_sums
from rded_core.io.distilled import read_images
from rded_core.io.files import clear_folder, link_or_copy, swap_folder
from rded_core.io.manifest import Record
from rded_core.io.paths import DatasetFolder, block_name
from rded_core.io.pictures import MAX_ROWS
from rded_core.io.report import write_report
from rded_core.io.shards import read_shard, write_shard
from rded_core.io.tables import LINEAGE, count_by_class, read_rows, write_rows
from tasks.policies import STAGE_POLICY
from tasks.prepare import RunPlan
from tasks.progress import run_logger
from tasks.recipe import describe_recipe
from tasks.soft_labels import label_blocks

Entry = TypeVar("Entry")

MAX_NAMES = 20
"""Rejected files that the report names; the records in ``work/`` name all."""

IMAGES_PER_TAR = 1000
"""Images in one published tar. Fixed, so that the tars do not depend on the class shards of the run."""


@dataclass(frozen=True, slots=True)
class StageRecords:
    """The records of every class shard, in shard order, as far as publishing needs them."""

    candidates: list[Record]
    scores: list[Record]
    observer: Record


@dataclass(slots=True)
class ClassPatches:
    """How many images a class has, and the realism scores of their patches in nats (none for controls)."""

    num_images: int = 0
    scores: list[float] = field(default_factory=list[float])


@task(name="publish", task_run_name="publish {plan.config.out}", **STAGE_POLICY)
def publish(plan: RunPlan, records: StageRecords) -> dict[str, Any]:
    """Writes images, labels, lineage, descriptions, report and checksums, then swaps the whole into ``dataset/``.

    Returns:
        A record: folder, counts of images and classes, bytes of images and labels, the observer's top-1.
    """
    folder = DatasetFolder(plan.run.staged_dataset)
    clear_folder(folder.root)
    _publish_images(plan, folder)
    found = _publish_lineage(plan, folder)
    for block in label_blocks(plan.config):
        name = block_name(block)
        link_or_copy(plan.run.table("soft_labels", name), folder.soft_labels(name))
    classes = _class_entries(plan, records, found)
    num_images = sum(entry["num_images"] for entry in classes)
    recipe = describe_recipe(plan, num_images=num_images, observer_top1=records.observer.facts["top1"])
    published = ("index", "name", "wnid", "folder", "num_source", "num_candidates", "num_images")
    write_json(folder.classes, [{name: entry[name] for name in published} for entry in classes])
    write_json(folder.recipe, recipe)
    write_readme(folder, recipe=recipe, classes=classes)
    write_croissant(folder, recipe=recipe, name="distilled")
    write_report(
        folder,
        stored=read_images(_first_tars(folder, classes), max_class=MAX_ROWS),
        classes=classes,
        recipe=recipe,
        scores=[score for patches in found.values() for score in patches.scores],
        notes=_notes(plan, classes),
    )
    write_sums(folder)
    record = _summary(plan, folder, num_images=num_images, observer_top1=records.observer.facts["top1"])
    swap_folder(folder.root, plan.run.dataset)
    for note in _notes(plan, classes):
        run_logger().warning(note)
    return record


def _first_tars(folder: DatasetFolder, classes: list[dict[str, Any]]) -> list[Path]:
    """Returns the tars, which are in class order, that hold the classes that the report shows."""
    shown = sum(entry["num_images"] for entry in classes[:MAX_ROWS])
    return folder.image_tars()[: ceil(shown / IMAGES_PER_TAR)]


def _publish_images(plan: RunPlan, folder: DatasetFolder) -> None:
    samples = (sample for shard in plan.shards for sample in read_shard(plan.run.tar("squeeze", shard.name)))
    for number, group in enumerate(_grouped(samples, IMAGES_PER_TAR)):
        write_shard(folder.images(number), group)


def _grouped(entries: Iterator[Entry], size: int) -> Iterator[list[Entry]]:
    """Yields lists of `size` entries; the last may be shorter."""
    while group := list(islice(entries, size)):
        yield group


def _publish_lineage(plan: RunPlan, folder: DatasetFolder) -> dict[int, ClassPatches]:
    """Writes lineage beside the tars, one table for each, a tar's rows at a time; returns what each class has."""
    found = {label.index: ClassPatches() for label in plan.classes}
    for number, group in enumerate(_grouped(_lineage_by_image(plan), IMAGES_PER_TAR)):
        rows = [row for image in group for row in image]
        write_rows(folder.lineage(number), rows, LINEAGE)
        for image in group:
            patches = found[image[0]["class_index"]]
            patches.num_images += 1
            patches.scores += (row["score_nats"] for row in image if row["score_nats"] is not None)
    return found


def _lineage_by_image(plan: RunPlan) -> Iterator[list[dict[str, Any]]]:
    for shard in plan.shards:
        rows = read_rows(plan.run.table("selection", shard.name), LINEAGE)
        for _, group in groupby(rows, key=itemgetter("key")):
            yield list(group)


def _class_entries(plan: RunPlan, records: StageRecords, found: dict[int, ClassPatches]) -> list[dict[str, Any]]:
    """Returns classes.json's entries, each with its rejected images by reason and its median score."""
    rejected: dict[int, list[tuple[str, str]]] = {label.index: [] for label in plan.classes}
    for record in (*records.candidates, *records.scores):
        for index, images in record.facts["rejected"].items():
            rejected[int(index)] += [(reason, uri) for reason, uri in images]
    usable = sum((count_by_class(plan.run.table("realism", shard.name)) for shard in plan.shards), Counter[int]())
    return [
        {
            "index": label.index,
            "name": label.name,
            "wnid": label.wnid,
            "folder": label.folder,
            "num_source": num_source,
            "num_candidates": usable[label.index],
            "num_images": found[label.index].num_images,
            "rejected": dict(Counter(reason for reason, _ in rejected[label.index])),
            "rejected_files": [f"{uri} ({reason})" for reason, uri in rejected[label.index]],
            "median_score_nats": statistics.median(scores) if (scores := found[label.index].scores) else None,
        }
        for label, num_source in zip(plan.classes, plan.num_source, strict=True)
    ]


def _notes(plan: RunPlan, classes: list[dict[str, Any]]) -> list[str]:
    """Returns what a reader should know first: rejected images, few candidates, missing images."""
    total = sum((Counter(entry["rejected"]) for entry in classes), Counter[str]())
    files = [name for entry in classes for name in entry["rejected_files"]]
    shown = ", ".join(files[:MAX_NAMES]) + (" ..." if len(files) > MAX_NAMES else "")
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(total.items()))
    notes = [f"source images rejected: {reasons}: {shown}"] if total else []
    short = [entry for entry in classes if entry["num_candidates"] < plan.config.num_candidates]
    if short:
        fewest = min(short, key=lambda entry: entry["num_candidates"])
        notes.append(
            f"classes with fewer than {plan.config.num_candidates} candidates: {len(short)} "
            f"(fewest: {fewest['folder']}, {fewest['num_candidates']})"
        )
    missing = [entry for entry in classes if entry["num_images"] < plan.config.ipc]
    if missing:
        notes.append(
            f"classes with fewer than {plan.config.ipc} images: {len(missing)} (first: {missing[0]['folder']})"
        )
    return notes


def _summary(plan: RunPlan, folder: DatasetFolder, *, num_images: int, observer_top1: float) -> dict[str, Any]:
    return {
        "out": plan.config.out,
        "dataset": str(plan.run.dataset),
        "num_images": num_images,
        "num_classes": len(plan.classes),
        "num_source": sum(plan.num_source),
        "image_bytes": sum(path.stat().st_size for path in folder.image_tars()),
        "label_bytes": sum(path.stat().st_size for path in folder.soft_label_tables()),
        "label_epochs": plan.config.label_epochs,
        "observer_top1": observer_top1,
    }
