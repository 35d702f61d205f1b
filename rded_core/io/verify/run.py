"""Checks of a run folder: every record against its seal, every output against its digest, no unlisted files."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from rded_core.errors import InputError
from rded_core.io.formats.sealed import DamagedRecord, read_sealed
from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.layout.run import RunFolder
from rded_core.io.layout.units import block_name, class_unit
from rded_core.io.run.forgotten import how_to_forget_again, is_forgetting, read_begun
from rded_core.io.run.inventory import (
    CLASS_STAGES,
    beside_record,
    is_leftover,
    label_notes,
    record_beside,
    stage_records,
    twins,
)
from rded_core.io.run.lock import holds
from rded_core.io.run.records import Record, find_record, read_record
from rded_core.io.run.run_json import holds_run, is_published_as, read_run
from rded_core.io.storage.atomic import is_written_elsewhere
from rded_core.io.storage.files import kind_of
from rded_core.io.verify.dataset import dataset_checks
from rded_core.io.verify.findings import Check, Findings
from rded_core.io.verify.tables import missing_epochs

NOT_AS_WRITTEN = "its bytes are not as written"


def find_checked(path: str) -> RunFolder | DatasetFolder:
    """Returns the run folder, or the dataset alone, at `path`.

    Raises:
        InputError: there is neither.
    """
    root = Path(path)
    if kind_of(root) != "folder":
        raise InputError(f"no such folder: {path}; give the --out folder of rded distill, or a dataset")
    if holds_run(RunFolder(root)):
        return RunFolder(root)
    dataset = DatasetFolder(root)
    if any(file.is_file() for file in (dataset.sums, dataset.recipe, dataset.classes)):
        return dataset
    if RunFolder(root).stage("candidates").is_dir():
        raise InputError(
            f"{path} has lost run.json and its copy in work/, so its settings are unknown; restore one from a backup, "
            "or run rded distill with the same flags as before, which reuses what is there"
        )
    raise InputError(
        f"neither a run nor a dataset of rded: {path}; give the --out folder of rded distill, or a dataset"
    )


def run_checks(run: RunFolder) -> list[Check]:
    """Returns the steps that check everything in a run folder, including its controls."""
    return [*_folder_checks(run), partial(_name_strays, run)]


def _folder_checks(run: RunFolder) -> list[Check]:
    published, _ = find_record(run.record("publish", "dataset"))
    dataset = DatasetFolder(run.dataset)
    steps: list[Check] = [partial(_check_twins, *pair) for pair in twins(run)]
    steps += [partial(_check_record, run, path) for path in stage_records(run)]
    steps.append(partial(_check_notes, run))
    steps.append(partial(_check_forgetting, run))
    if published or run.dataset.exists():
        steps += dataset_checks(dataset, published.facts["sums"] if published else None)
    steps.append(partial(_check_complete, run, published))
    return [*steps, *(step for control in run.controls() for step in _folder_checks(control))]


def _check_twins(first: Path, copy: Path, findings: Findings) -> None:
    """Checks a sealed file and its copy against their seals and each other."""
    for path, other in ((first, copy), (copy, first)):
        try:
            read_sealed(path)
            findings.accept(path)
        except FileNotFoundError:
            findings.add("missing", path, f"its copy {findings.shown(other)} exists")
        except (OSError, DamagedRecord):
            findings.add("damaged", path, NOT_AS_WRITTEN)
    if {first, copy} <= findings.whole and first.read_bytes() != copy.read_bytes():
        findings.add("inconsistent", copy, f"differs from {findings.shown(first)}")


def _check_record(run: RunFolder, path: Path, findings: Findings) -> None:
    try:
        record = read_record(path)
    except (OSError, DamagedRecord):
        findings.add("damaged", path, NOT_AS_WRITTEN)
        findings.known.update(beside_record(path))
        return
    findings.accept(path)
    if path != run.root / "work" / record.stage / f"{record.unit}.json":
        findings.add("inconsistent", path, f"holds the record of {record.stage} {record.unit}")
    for name, digest in record.outputs.items():
        findings.check_digest(path.with_name(name), digest, path.name)


def _label_records(run: RunFolder) -> Iterator[Record]:
    for path in stage_records(run):
        record = find_record(path)[0] if path.parent.name == "soft_labels" else None
        if record:
            yield record


def _check_notes(run: RunFolder, findings: Findings) -> None:
    """Checks the notes on the images that labels were made from; reports notes that no labels need."""
    needed = {run.label_images(record.upstream.get("images", "")) for record in _label_records(run)}
    for path in label_notes(run):
        try:
            read_sealed(path)
        except (OSError, DamagedRecord):
            findings.add("damaged", path, NOT_AS_WRITTEN)
            continue
        if path in needed:
            findings.accept(path)
        else:
            findings.add("unexpected", path, "a note on images that no labels here were made from")


def _check_forgetting(run: RunFolder, findings: Findings) -> None:
    """Adds a note on an interrupted forgetting."""
    if not is_forgetting(run):
        return
    try:
        read_begun(run)
    except InputError:
        findings.add("damaged", run.forgetting, NOT_AS_WRITTEN, remedy=how_to_forget_again(run))
    else:
        findings.accept(run.forgetting)
        findings.notes.append(f"a forgetting was interrupted; run rded forget {run.root} to finish it")


def _check_complete(run: RunFolder, published: Record | None, findings: Findings) -> None:
    """Reports the records that a finished run needs but lacks."""
    dataset = DatasetFolder(run.dataset)
    if published is None:
        if run.dataset.exists() and not run.record("publish", "dataset").exists():
            findings.add("missing", run.record("publish", "dataset"), "the dataset exists, but its record does not")
        elif not run.dataset.exists():
            findings.notes.append(f"{run.root} is not finished; run rded distill --config {run.run_json} to resume")
        return
    try:
        described = read_run(run)
    except InputError:
        return  # both copies are reported as damaged
    if not is_published_as(published, described):
        findings.notes.append(f"{run.root} was started again with other settings and is not finished")
    elif {dataset.sums, dataset.classes} <= findings.whole:
        for path in _needed(run, published, described):
            if not path.is_file():
                findings.add("missing", path, "a finished run needs it")


def _needed(run: RunFolder, published: Record, described: dict[str, Any]) -> Iterator[Path]:
    """Yields the records and notes that a finished run needs."""
    for entry in json.loads(DatasetFolder(run.dataset).classes.read_text(encoding="utf-8")):
        yield from (run.record(stage, class_unit(entry["folder"])) for stage in CLASS_STAGES)
    yield run.record("observe", "observer")
    if described["teacher"]["digest"] != described["observer"]["digest"]:
        yield run.record("observe", "teacher")
    names = [path.stem for path in stage_records(run) if path.parent.name == "soft_labels"]
    if described["config"].get("label_budget"):
        yield run.record("soft_labels", "choice")
    for block in missing_epochs(names, published.facts["summary"]["label_epochs"]):
        yield run.record("soft_labels", block_name(block))
    yield run.label_images(published.upstream["images"])


def _name_strays(run: RunFolder, findings: Findings) -> None:
    """Reports every file that is not accounted for; a lock left by a crash is only a note, since no one writes now."""
    for path in sorted(path for path in run.root.rglob("*") if not path.is_dir() and path not in findings.known):
        if path == run.lock and holds(path):
            continue
        if path == run.lock:
            holder = " ".join(path.read_text(encoding="utf-8", errors="replace").split())
            findings.notes.append(
                f"{findings.shown(path)}: {holder or 'a process'} crashed; no process writes here now"
            )
            continue
        if is_written_elsewhere(path):
            findings.notes.append(f"{findings.shown(path)}: another machine is writing it, or did within the last hour")
            continue
        record = next((owner for each in (run, *run.controls()) if (owner := record_beside(each, path))), None)
        if any(is_leftover(each, path) for each in (run, *run.controls())):
            findings.add("unexpected", path, "left behind by an interrupted run")
        elif record is not None and not record.exists():
            findings.known.add(path)
            findings.add("missing", record, f"{path.name} exists, but its record does not")
        elif record is not None:
            findings.add("unexpected", path, f"not listed in {record.name}")
        else:
            findings.note_foreign(path)
