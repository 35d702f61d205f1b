"""Compute a sample of a run again, on the CPU, and compare: source, scores, selection, pixels, labels.

What was made on such a CPU with these versions, as its record says, must be equal bit by bit when it is computed again;
all else within the tolerances below. What cannot be computed again, since source or weights are gone, is said.
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
from rded_core.io.verify.findings import Findings
from tasks.labels.labeller import images_digest
from tasks.labels.passes import images_to_label
from tasks.maintenance.comparisons import (
    compare_pixels,
    compare_scores,
    compare_selection,
    compare_source,
    find_unit_record,
    stage_files,
)
from tasks.maintenance.recompute_labels import compare_labels
from tasks.maintenance.reopen import Reopened, reopen
from tasks.maintenance.verify import unwritten
from tasks.patches.tile import LostCandidate
from tasks.runtime.progress import track

MOST_CLASSES = 64
MOST_BLOCKS = 8


_GIVES: dict[str, tuple[str, Callable[[Record], str]]] = {
    "index": ("images", Record.outputs_digest),
    "candidates": ("candidates", lambda record: record.facts["content"]),
    "realism": ("scores", Record.outputs_digest),
    "selection": ("selection", Record.outputs_digest),
}
"""What later stages call a stage's data among those they were made of, and its digest."""

_Look = tuple[list[Path], Callable[[], str]]
"""The files that a look needs whole, the one that it is about first; and the look, which says what differs in that."""


@dataclass(frozen=True, slots=True)
class _DeepCheck:
    """One way to compute a class's files again.

    Attributes:
        what: for people.
        stage: whose file is compared.
        redo: what `rded distill --redo` calls that stage.
        look: returns what differs in a class, or nothing.
        made_of: stages whose files of the class it reads besides.
        network: what it computes with.
    """

    what: str
    stage: str
    redo: str
    look: Callable[[Reopened, int], str]
    made_of: tuple[str, ...]
    network: str = ""


def check_deep(target: RunFolder | DatasetFolder, findings: Findings) -> None:
    """Computes a sample of a run and of its controls again and compares; `findings` tells which files are whole.

    Raises:
        InputError: somebody writes there.
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
        looks: list[_Look] = []
        for index in spread(len(plan.classes), MOST_CLASSES):
            files = [file for stage in (check.stage, *check.made_of) for file in stage_files(again, stage, index)]
            looks.append((files, partial(_look_at, again, check, index)))
        _take(again, findings, check.what, looks, network=check.network, redo=check.redo)
    tables = sorted(plan.run.stage("soft_labels").glob("*.parquet"))
    _check_labels(again, findings, [tables[number] for number in spread(len(tables), MOST_BLOCKS)])


def _check_labels(again: Reopened, findings: Findings, tables: list[Path]) -> None:
    tars = {label.index: stage_files(again, "squeeze", label.index)[0] for label in again.plan.classes}
    looks: list[_Look] = []
    if findings.whole.issuperset(tars.values()):
        digest = images_digest(again.plan, {index: find_unit_record(again, "squeeze", index) for index in tars})
        images = images_to_label(tuple(tars.items()), digest, torch.device("cpu"))
        looks = [([table], partial(compare_labels, again, images, digest, table)) for table in tables]
    _take(again, findings, "labels", looks, network="teacher", redo="label")


def _take(again: Reopened, findings: Findings, what: str, looks: list[_Look], *, network: str, redo: str) -> None:
    """Takes one check file by file, where all it needs is whole; what cannot be checked is told once."""
    run = again.plan.run
    remedy = f"rded distill --config {run.run_json} --redo {redo}"
    gone = [again.absent[network]] if network in again.absent else [] if looks else ["images are not whole"]
    done = 0
    for files, look in track([] if gone else looks, total=len(looks), what=f"check {what}"):
        try:
            _require_whole(files, findings)
            wrong = look()
        except (InputError, RejectedImage, LostCandidate) as error:
            gone.append(str(error))
            continue
        done += 1
        if wrong:
            findings.add("differs", files[0], wrong, remedy=remedy)
    if done:
        findings.notes.append(f"{what} of {run.root}: a part of {done} files computed again and compared")
    if gone:
        more = f" (and {len(gone) - 1} more)" if len(gone) > 1 else ""
        findings.unchecked.append(f"{what} of {run.root}: {gone[0]}{more}")


def _look_at(again: Reopened, check: _DeepCheck, index: int) -> str:
    """Takes one look at a class.

    Raises:
        InputError: its files do not belong together: a run was stopped when it had made some of them again.
    """
    records = {stage: find_unit_record(again, stage, index) for stage in (check.stage, *check.made_of)}
    for stage in check.made_of:
        name, digest_of = _GIVES[stage]
        now = digest_of(records[stage])
        others = (record for other, record in records.items() if other != stage)
        if any(record.upstream.get(name, now) != now for record in others):
            raise InputError(
                f"class {again.plan.classes[index].folder} has other {name} than what was made of them: a run was "
                f"stopped between the two; rded distill --config {again.plan.run.run_json} goes on"
            )
    return check.look(again, index)


def _require_whole(files: list[Path], findings: Findings) -> None:
    damaged = next((file for file in files if file not in findings.whole), None)
    if damaged:
        raise InputError(f"{findings.where(damaged)} is not whole")


def spread(count: int, most: int) -> list[int]:
    """Returns at most `most` numbers below `count`, evenly spread."""
    shown = min(count, most)
    return [number * count // shown for number in range(shown)]
