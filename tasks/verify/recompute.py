"""Computes a sample of a run again, on the CPU, and compares: source, scores, selection, pixels, labels.

Results that, according to their records, were made on the same kind of CPU with the same versions must be equal bit by
bit; all others must lie within tolerances. Results that cannot be computed again, because source or weights are
missing, are reported as not checked.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from rded_core.errors import InputError
from rded_core.io.device.threads import one_torch_thread
from rded_core.io.formats.images import RejectedImage
from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.layout.run import RunFolder
from rded_core.io.run.records import Record
from rded_core.io.storage.files import shown_name
from rded_core.io.verify.findings import Findings
from tasks.labels.labeller import images_digest
from tasks.labels.passes import images_to_label
from tasks.patches.tile import LostCandidate
from tasks.runtime.progress import track
from tasks.verify.comparisons import (
    compare_pixels,
    compare_scores,
    compare_selection,
    compare_source,
    find_unit_record,
    stage_files,
)
from tasks.verify.files import unwritten
from tasks.verify.recompute_labels import compare_labels
from tasks.verify.reopen import Reopened, reopen

MOST_CLASSES = 64
"""Classes that each comparison samples, spread over all; of each, one group of candidates and one image."""

MOST_BLOCKS = 8
"""Blocks of labels that are sampled, spread over all; of each, the first passes."""

_OUTPUTS: dict[str, tuple[str, Callable[[Record], str]]] = {
    "index": ("images", Record.outputs_digest),
    "candidates": ("candidates", lambda record: record.facts["content"]),
    "realism": ("scores", Record.outputs_digest),
    "selection": ("selection", Record.outputs_digest),
}
"""By stage: the name of its data in the ``upstream`` of later stages' records, and the digest of that data."""

_Comparison = tuple[list[Path], Callable[[], str]]
"""Files that a comparison needs whole, the compared one first; and the comparison, which returns what differs."""


@dataclass(frozen=True, slots=True)
class _DeepCheck:
    """One kind of comparison.

    Attributes:
        what: name for display.
        stage: stage whose file is compared.
        redo: name of that stage in `rded distill --redo`.
        compare: returns what differs in a class, or nothing.
        made_of: other stages whose files of the class it reads.
        network: network that it computes with: ``observer``, ``teacher``, or empty.
    """

    what: str
    stage: str
    redo: str
    compare: Callable[[Reopened, int], str]
    made_of: tuple[str, ...]
    network: str = ""


def check_deep(target: RunFolder | DatasetFolder, findings: Findings) -> None:
    """Computes a sample of a run and of its controls again, and adds the differences to `findings`.

    Only files that `findings` holds as whole are compared.

    Raises:
        InputError: another process writes to the run.
    """
    if isinstance(target, DatasetFolder):
        findings.unchecked.append("scores, labels, pixels: a dataset without its run cannot be computed again")
        return
    with unwritten(target), one_torch_thread():
        for run in (target, *target.controls()):
            try:
                _check_run(reopen(run), findings)
            except InputError as error:
                findings.unchecked.append(f"scores, labels, pixels of {run.root}: {error}")


def _check_run(again: Reopened, findings: Findings) -> None:
    plan = again.plan
    scoring = "observer" if plan.config.selection == "realism" else ""
    for check in (
        _DeepCheck("source images", "candidates", "draw", compare_source, ("index",)),
        _DeepCheck("scores", "realism", "score", compare_scores, ("candidates",), scoring),
        _DeepCheck("selections", "selection", "select", compare_selection, ("candidates", "realism")),
        _DeepCheck("pixels", "squeeze", "tile", compare_pixels, ("candidates", "selection")),
    ):
        comparisons: list[_Comparison] = []
        for index in spread(len(plan.classes), MOST_CLASSES):
            files = [file for stage in (check.stage, *check.made_of) for file in stage_files(again, stage, index)]
            comparisons.append((files, partial(_compare_class, again, check, index)))
        _compare_all(again, findings, check.what, comparisons, network=check.network, redo=check.redo)
    tables = sorted(plan.run.stage("soft_labels").glob("*.parquet"))
    _check_labels(again, findings, [tables[number] for number in spread(len(tables), MOST_BLOCKS)])


def _check_labels(again: Reopened, findings: Findings, tables: list[Path]) -> None:
    tars = {label.index: stage_files(again, "squeeze", label.index)[0] for label in again.plan.classes}
    comparisons: list[_Comparison] = []
    if findings.whole.issuperset(tars.values()):
        digest = images_digest(again.plan, {index: find_unit_record(again, "squeeze", index) for index in tars})
        images = images_to_label(tuple(tars.items()), digest, torch.device("cpu"))
        comparisons = [([table], partial(compare_labels, again, images, digest, table)) for table in tables]
    _compare_all(again, findings, "labels", comparisons, network="teacher", redo="label")


def _compare_all(
    again: Reopened, findings: Findings, what: str, comparisons: list[_Comparison], *, network: str, redo: str
) -> None:
    """Makes the comparisons whose files are whole; reports once what could not be checked."""
    run = again.plan.run
    remedy = f"rded distill --config {run.run_json} --redo {redo}"
    skipped = [again.absent[network]] if network in again.absent else [] if comparisons else ["images are damaged"]
    done = 0
    for files, compare in track(
        [] if skipped else comparisons, total=len(comparisons), what=f"check {what}", unit="group"
    ):
        try:
            _require_whole(files, findings)
            wrong = compare()
        except (InputError, RejectedImage, LostCandidate) as error:
            skipped.append(str(error))
            continue
        done += 1
        if wrong:
            findings.add("differs", files[0], wrong, remedy=remedy)
    if done:
        findings.notes.append(f"{what} of {run.root}: a sample of {done} files was computed again and compared")
    if skipped:
        more = f" (and {len(skipped) - 1} more)" if len(skipped) > 1 else ""
        findings.unchecked.append(f"{what} of {run.root}: {skipped[0]}{more}")


def _compare_class(again: Reopened, check: _DeepCheck, index: int) -> str:
    """Makes one comparison of a class; returns what differs, or nothing.

    Raises:
        InputError: its files do not belong together, because a run was stopped after it made some of them again.
    """
    records = {stage: find_unit_record(again, stage, index) for stage in (check.stage, *check.made_of)}
    for stage in check.made_of:
        name, digest_of = _OUTPUTS[stage]
        now = digest_of(records[stage])
        others = (record for other, record in records.items() if other != stage)
        if any(record.upstream.get(name, now) != now for record in others):
            raise InputError(
                f"class {shown_name(again.plan.classes[index].folder)}: a run was stopped before later stages used the "
                f"present {name}; run rded distill --config {again.plan.run.run_json} to resume"
            )
    return check.compare(again, index)


def _require_whole(files: list[Path], findings: Findings) -> None:
    damaged = next((file for file in files if file not in findings.whole), None)
    if damaged:
        raise InputError(f"{findings.shown(damaged)} is missing or damaged")


def spread(count: int, most: int) -> list[int]:
    """Returns at most `most` numbers below `count`, evenly spread."""
    size = min(count, most)
    return [number * count // size for number in range(size)]
