"""Mend a run folder's files from what is whole beside them, and get ready the runs that must make the others again."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rded_core.config import DistillConfig
from rded_core.errors import InputError
from rded_core.io.device import resolve_device
from rded_core.io.files import restore_swapped, write_atomically
from rded_core.io.findings import Fault, Findings
from rded_core.io.paths import RunFolder
from rded_core.io.run_files import beside_record, label_notes, record_beside, twins
from rded_core.io.run_records import read_run, run_identity
from rded_core.io.sources import open_source
from tasks.networks import load_observer, load_teacher
from tasks.prepare import describe_run
from tasks.run_configs import config_of
from tasks.students import STAGE as STUDENTS
from tasks.students import mend_student


def runs_of(run: RunFolder) -> list[RunFolder]:
    """Returns a run and its controls, in the order in which they are mended: controls take over its candidates."""
    return [run, *run.controls()]


def run_of(run: RunFolder, path: Path) -> RunFolder:
    """Returns the run, or the control in it, that a file belongs to."""
    return next((control for control in run.controls() if path.is_relative_to(control.root)), run)


def settle(run: RunFolder) -> None:
    """Puts back datasets that a crash left set aside, before anything is called missing or left behind."""
    for each in runs_of(run):
        restore_swapped(each.staged_dataset, each.dataset)


def mend_files(run: RunFolder, findings: Findings) -> Iterator[str]:
    """Mends what needs no work to be done again: files kept twice, students, leftovers; says what it did."""
    wrong = {fault.path: fault for fault in findings.faults}
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
            yield f"removed {findings.where(path)}: {fault.what}"
    for each in runs_of(run):
        _remove_staged(each)


def _mend_twins(first: Path, copy: Path, findings: Findings) -> str:
    """Writes one of two files from the other. Of two that are whole the copy, which is written first, is the newer."""
    good = [path for path in (copy, first) if path in findings.whole]
    if not good:
        again = "rded evaluate writes it again" if first.parent.name == "evaluations" else "nothing else names it"
        return f"cannot mend {findings.where(first)}: both copies are damaged ({again})"
    source, target = good[0], first if good[0] == copy else copy
    write_atomically(target, lambda temporary: shutil.copyfile(source, temporary))
    return f"restored {findings.where(target)} from {findings.where(source)}"


def _mend_student(run: RunFolder, record: Path, findings: Findings) -> str:
    if mend_student(run, record.stem):
        return f"mended {findings.where(record)}, result and record each from the other"
    for path in (record, *beside_record(record)):
        path.unlink(missing_ok=True)
    return f"removed {findings.where(record)}: its result is lost too; rded evaluate trains this student again"


def _is_needless(run: RunFolder, path: Path, fault: Fault) -> bool:
    """Tells whether a file is one of ours that nothing needs as it is."""
    return fault.kind == "unexpected" or path in label_notes(run_of(run, path))


def _remove_staged(run: RunFolder) -> None:
    """Removes the folders, by now empty, of datasets that were not finished."""
    for folder in (run.staged_dataset, run.staged_dataset.with_name(f"{run.staged_dataset.name}.old")):
        if folder.is_dir() and not any(path.is_file() for path in folder.rglob("*")):
            shutil.rmtree(folder)


def runs_to_redo(run: RunFolder, findings: Findings) -> list[RunFolder]:
    """Returns the run and those of its controls that have something to make again."""
    roots = {run_of(run, fault.path).root for fault in _to_redo(run, findings)}
    return [each for each in runs_of(run) if each.root in roots]


def tell_mended(run: RunFolder, before: Findings, after: Findings) -> Iterator[str]:
    """Says which files were made again."""
    wrong = {fault.path for fault in after.faults}
    for fault in _to_redo(run, before):
        if fault.path not in wrong:
            yield f"made again {before.where(fault.path)}"


def _to_redo(run: RunFolder, findings: Findings) -> list[Fault]:
    """Returns the faults that only more work can mend."""
    sealed = {path for each in runs_of(run) for pair in twins(each) for path in pair}
    return [
        fault
        for fault in findings.faults
        if not (fault.kind == "unexpected" or fault.path in sealed) and not _is_students(run, fault.path)
    ]


def _is_students(run: RunFolder, path: Path) -> bool:
    record = record_beside(run, path)
    return record is not None and record.parent.name == STUDENTS


def config_to_redo(run: RunFolder) -> DistillConfig:
    """Returns a run's own config, once it is sure that the same work gives the same files.

    Raises:
        InputError: source, networks or this program are not what they were: to go on would make another dataset.
    """
    described = read_run(run)
    recorded = described["config"]["out"]
    is_there = Path(recorded).resolve() == run.root.resolve()
    config = replace(config_of(run), out=recorded if is_there else str(run.root.absolute()))
    source = open_source(config.source, classes=config.classes)
    networks = load_observer(config, source.classes), load_teacher(config, source.classes)
    before, now = run_identity(described), run_identity(describe_run(config, source, *networks))
    changed = [name.removeprefix("config.") for name in now if before.get(name) != now[name] and name != "config.out"]
    if changed:
        raise InputError(
            f"{' and '.join(changed)} changed since {run.root} was distilled, so what is damaged cannot be made again "
            f"as it was; rded distill --config {run.run_json} makes the dataset of what is there now"
        )
    return config


def other_device(run: RunFolder, config: DistillConfig) -> str:
    """Says where a run's work is done again on another kind of device than before; nothing where it is not."""
    before, now = str(read_run(run)["device"]), str(resolve_device(config.device))
    return "" if before == now else f"{run.root} was made on {before}, and is mended on {now}: last digits may differ"


def drop_useless(run: RunFolder, findings: Findings) -> Iterator[str]:
    """Removes damaged units that a finished run did not make again, since it does not need them any more."""
    for fault in findings.faults:
        each = run_of(run, fault.path)
        record = record_beside(each, fault.path)
        if record is None or record.parent.name == STUDENTS:
            continue
        for path in (record, *beside_record(record)):
            path.unlink(missing_ok=True)
        yield f"removed {findings.where(record)}: damaged, and no part of the run any more"
