"""Mends files of a run folder from copies and records that are whole."""

import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from rded_core.io.layout.run import RunFolder
from rded_core.io.run.inventory import beside_record, label_notes, record_beside, twins
from rded_core.io.run.lock import only_writer
from rded_core.io.storage.atomic import write_atomically
from rded_core.io.storage.swap import restore_swapped
from rded_core.io.verify.findings import Fault, Findings
from tasks.repair.redo import run_of, runs_of
from tasks.training.results import STAGE as STUDENTS
from tasks.training.results import mend_student


@contextmanager
def run_to_repair(run: RunFolder) -> Generator[None]:
    """Keeps other writers out of a run during a block, after restoring datasets that a crash left set aside."""
    with only_writer(run):
        settle(run)
        yield


def settle(run: RunFolder) -> None:
    """Restores datasets that a crash left set aside, before anything is reported as missing or left behind."""
    for each in runs_of(run):
        restore_swapped(each.staged_dataset, each.dataset)


def mend_files(run: RunFolder, findings: Findings) -> Iterator[str]:
    """Mends what needs no computation (files kept twice, students, leftovers); yields a line for each action."""
    wrong = {fault.path: fault for fault in findings.faults}
    if run.forgetting in wrong:
        yield f"cannot mend {findings.shown(run.forgetting)}: {wrong[run.forgetting].remedy}"
    for each in runs_of(run):
        for first, copy in twins(each):
            if first in wrong or copy in wrong:
                yield _mend_twins(first, copy, findings)
    students = {record for path in wrong if (record := record_beside(run, path)) and record.parent.name == STUDENTS}
    for record in sorted(students):
        yield _mend_student(run, record, findings)
    for path, fault in wrong.items():
        if _is_needless(run, path, fault):
            path.unlink(missing_ok=True)
            yield f"removed {findings.shown(path)}: {fault.what}"
    for each in runs_of(run):
        _remove_staged(each)


def _mend_twins(first: Path, copy: Path, findings: Findings) -> str:
    """Writes one of two files from the other. If both are whole, the copy is newer: it is written first."""
    good = [path for path in (copy, first) if path in findings.whole]
    if not good:
        reason = "rded evaluate writes it again" if first.parent.name == "evaluations" else "no other file holds this"
        return f"cannot mend {findings.shown(first)}: both copies are damaged ({reason})"
    source, target = good[0], first if good[0] == copy else copy
    write_atomically(target, lambda temporary: shutil.copyfile(source, temporary))
    return f"restored {findings.shown(target)} from {findings.shown(source)}"


def _mend_student(run: RunFolder, record: Path, findings: Findings) -> str:
    if mend_student(run, record.stem):
        return f"mended {findings.shown(record)}: result and record, each from the other"
    for path in (record, *beside_record(record)):
        path.unlink(missing_ok=True)
    return f"removed {findings.shown(record)}: its result is lost too; run rded evaluate to train this student again"


def _is_needless(run: RunFolder, path: Path, fault: Fault) -> bool:
    """Returns True if a faulty file can simply be removed."""
    return fault.kind == "unexpected" or path in label_notes(run_of(run, path))


def _remove_staged(run: RunFolder) -> None:
    """Removes the folders of unfinished datasets if they hold no files any more."""
    for folder in (run.staged_dataset, run.replaced_dataset):
        if folder.is_dir() and not any(path.is_file() for path in folder.rglob("*")):
            shutil.rmtree(folder)


def drop_useless(run: RunFolder, findings: Findings) -> Iterator[str]:
    """Removes damaged units that a finished run did not make again, since it does not need them; yields a line each."""
    for fault in findings.faults:
        each = run_of(run, fault.path)
        record = record_beside(each, fault.path)
        if record is None or record.parent.name == STUDENTS:
            continue
        for path in (record, *beside_record(record)):
            path.unlink(missing_ok=True)
        yield f"removed {findings.shown(record)}: damaged, and no longer part of the run"
