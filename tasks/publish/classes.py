"""Entries of classes.json, and notes on classes that are short of candidates or images."""

import statistics
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tasks.run.plan import RunPlan
from tasks.run.results import StageResult

MAX_NAMES = 20
"""Rejected files that the report names; the records in ``work/`` name all of them."""


@dataclass(slots=True)
class ClassPatches:
    """Number of images of a class, and the realism scores of their patches in nats (empty for controls)."""

    num_images: int = 0
    scores: list[float] = field(default_factory=list[float])


def class_entries(plan: RunPlan, read_by: list[StageResult], patches: dict[int, ClassPatches]) -> list[dict[str, Any]]:
    """Returns the entries of classes.json, each with its rejected images by reason and its median score.

    `read_by` holds the results of all stages that read images and may reject some.
    """
    rejected: dict[int, list[tuple[str, str]]] = {label.index: [] for label in plan.classes}
    for result in read_by:
        for index, record in result.records.items():
            rejected[index] += [(reason, uri) for reason, uri in record.facts["rejected"]]
    counted = ((index, record.facts.get("usable")) for result in read_by for index, record in result.records.items())
    usable = {index: count for index, count in counted if count is not None}
    return [
        {
            "index": label.index,
            "name": label.name,
            "wnid": label.wnid,
            "folder": label.folder,
            "num_source": plan.index.records[label.index].facts["images"],  # as listed when the class was drawn
            "num_candidates": usable[label.index],
            "num_images": patches[label.index].num_images,
            "rejected": dict(Counter(reason for reason, _ in rejected[label.index])),
            "rejected_files": [f"{uri} ({reason})" for reason, uri in rejected[label.index]],
            "median_score_nats": statistics.median(scores) if (scores := patches[label.index].scores) else None,
        }
        for label in plan.classes
    ]


def describe_few(plan: RunPlan, classes: list[dict[str, Any]]) -> list[str]:
    """Returns the notes that ask for nothing: rejected images, and classes whose images are all candidates."""
    total = sum((Counter(entry["rejected"]) for entry in classes), Counter[str]())
    files = [name for entry in classes for name in entry["rejected_files"]]
    names = ", ".join(files[:MAX_NAMES]) + (" ..." if len(files) > MAX_NAMES else "")
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(total.items()))
    notes = [f"source images rejected: {reasons}: {names}"] if total else []
    notes += [f"left out of the source: {line}" for line in plan.left_out]
    short = [entry for entry in classes if entry["num_candidates"] < plan.config.num_candidates]
    if short:
        fewest = min(short, key=lambda entry: entry["num_candidates"])
        notes.append(
            f"classes with fewer than {plan.config.num_candidates} candidates: {len(short)} "
            f"(fewest: {fewest['folder']}, {fewest['num_candidates']})"
        )
    return notes


def describe_shortages(plan: RunPlan, classes: list[dict[str, Any]]) -> list[str]:
    """Returns a note on classes with too few images, if there are any."""
    missing = [entry for entry in classes if entry["num_images"] < plan.config.ipc]
    if not missing:
        return []
    return [f"classes with fewer than {plan.config.ipc} images: {len(missing)} (first: {missing[0]['folder']})"]
