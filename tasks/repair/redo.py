"""Work that a repair must do again because files are damaged, and whether it would give the same files."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from rded_core.config import DistillConfig
from rded_core.errors import InputError
from rded_core.io.device.devices import resolve_device
from rded_core.io.layout.run import RunFolder
from rded_core.io.layout.units import class_unit
from rded_core.io.run.inventory import CLASS_STAGES, record_beside, twins
from rded_core.io.run.records import find_record
from rded_core.io.run.run_json import config_of, is_published_as, read_run, run_identity
from rded_core.io.sources.base import Source, SourceClass
from rded_core.io.sources.spec import open_source
from rded_core.io.verify.findings import Fault, Findings
from rded_core.text.wording import setting_words
from tasks.run.describe import describe_run
from tasks.run.index import are_as_listed, is_as_listed
from tasks.run.networks import load_observer, load_teacher
from tasks.training.results import STAGE as STUDENTS


def runs_of(run: RunFolder) -> list[RunFolder]:
    """Returns a run and its controls, in the order of repair: controls use the run's candidates."""
    return [run, *run.controls()]


def run_of(run: RunFolder, path: Path) -> RunFolder:
    """Returns the run, or the control in it, that a file belongs to."""
    return next((control for control in run.controls() if path.is_relative_to(control.root)), run)


def runs_to_redo(run: RunFolder, findings: Findings) -> list[RunFolder]:
    """Returns those of the run and its controls in which work must be done again."""
    roots = {run_of(run, fault.path).root for fault in _to_redo(run, findings)}
    return [each for each in runs_of(run) if each.root in roots]


def describe_mended(run: RunFolder, before: Findings, after: Findings) -> Iterator[str]:
    """Yields a line for each file that was made again."""
    wrong = {fault.path for fault in after.faults}
    for fault in _to_redo(run, before):
        if fault.path not in wrong:
            yield f"made again {before.shown(fault.path)}"


def _to_redo(run: RunFolder, findings: Findings) -> list[Fault]:
    """Returns the faults that only work can mend, rather than a copy or a removal."""
    sealed = {path for each in runs_of(run) for pair in twins(each) for path in pair}
    return [
        fault
        for fault in findings.faults
        if not (fault.kind == "unexpected" or fault.path in sealed) and not _is_students(run, fault.path)
    ]


def _is_students(run: RunFolder, path: Path) -> bool:
    record = record_beside(run, path)
    return record is not None and record.parent.name == STUDENTS


def work_to_redo(run: RunFolder, findings: Findings) -> tuple[DistillConfig, list[str]]:
    """Returns a run's own config and the classes with damaged files, after checking that these would come out the same.

    Other classes are left alone, regardless of changes to their images. Files made from all classes together belong
    to no class.

    Raises:
        InputError: the images of these classes, the networks or this program have changed, so the result would be a
            different dataset.
    """
    described = read_run(run)
    recorded = described["config"]["out"]
    is_there = Path(recorded).resolve() == run.root.resolve()
    config = replace(config_of(run), out=recorded if is_there else str(run.root.absolute()))
    source = open_source(config.source, classes=config.classes)
    networks = load_observer(config, source.classes), load_teacher(config, source.classes)
    before, now = run_identity(described), run_identity(describe_run(config, source, *networks))
    changed = [name.removeprefix("config.") for name in now if before.get(name) != now[name] and name != "config.out"]
    classes = _damaged_classes(run, findings, source)
    others = [label.folder for label in classes if is_as_listed(run, source, label.index) is False]
    if "source.digest" in changed and are_as_listed(run, source, [label.index for label in classes]):
        changed.remove("source.digest")
    elif others and "source.digest" not in changed:
        changed.append(f"class {others[0]} of the source")
    if changed:
        raise InputError(
            f"{' and '.join(map(setting_words, changed))} changed since {run.root} was distilled, so the damaged "
            f"files cannot be made again as they were; run rded distill --config {run.run_json} to make a new dataset"
        )
    _require_published(run, described, findings)
    return config, [label.folder for label in classes]


def _require_published(run: RunFolder, described: dict[str, Any], findings: Findings) -> None:
    """Raises InputError if the dataset is damaged and was made under other settings than the present ones."""
    published, _ = find_record(run.record("publish", "dataset"))
    is_damaged = any(fault.path.is_relative_to(run.dataset) for fault in _to_redo(run, findings))
    if is_damaged and published is not None and not is_published_as(published, described):
        raise InputError(
            f"the run in {run.root} was started again with other settings, so its dataset cannot be made again as it "
            f"was; run rded distill --config {run.run_json} to make one with the present settings"
        )


def _damaged_classes(run: RunFolder, findings: Findings, source: Source) -> list[SourceClass]:
    """Returns the classes with a fault in one of their own files."""
    records = (record_beside(run, fault.path) for fault in _to_redo(run, findings))
    units = {record.stem for record in records if record and record.parent.name in CLASS_STAGES}
    return [label for label in source.classes if class_unit(label.folder) in units]


def other_device(run: RunFolder, config: DistillConfig) -> str:
    """Returns a note if a run is repaired on a different device than it was made on, else nothing."""
    before, now = str(read_run(run)["device"]), str(resolve_device(config.device))
    return "" if before == now else f"{run.root} was made on {before} and is repaired on {now}; last digits may differ"
