"""Set up an evaluation, and sum up its students."""

import statistics
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from rded_core.config import DistillConfig, EvaluateConfig
from rded_core.errors import InputError
from rded_core.io.dataset.distilled import DistilledDataset
from rded_core.io.formats.sealed import write_twins
from rded_core.io.formats.soft_labels import EPOCHS_PER_FILE
from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.layout.run import RunFolder, evaluation_folder, find_dataset
from rded_core.io.layout.units import block_name, epoch_blocks
from rded_core.io.remote.places import as_shown
from rded_core.io.remote.working_copy import run_to_change
from rded_core.io.run.records import Record
from rded_core.io.run.run_json import config_of, holds_run, read_run, require_published, require_run_for_controls
from rded_core.io.sources.alignment import align_classes
from rded_core.io.sources.base import Source
from rded_core.io.sources.spec import open_source, sources_kept
from rded_core.io.storage.files import require_writable
from rded_core.io.storage.urls import is_url
from rded_core.labels.epoch_order import describe_uses
from rded_core.networks import build_network
from rded_core.training.protocols import Protocol, find_protocol
from tasks.run.prepare import log_left_out
from tasks.runtime.logs import run_logger
from tasks.runtime.stage_task import stage_task
from tasks.training.results import EvaluationPlan, TrainingSet, evaluation_name, require_same, student_settings


@contextmanager
def dataset_to_evaluate(config: EvaluateConfig) -> Generator[EvaluateConfig]:
    """Yields the config with a local folder as its dataset; for a URL, results are sent there when the block ends."""
    with run_to_change(config.dataset) as dataset:
        yield replace(config, dataset=dataset)


def check_ahead(config: EvaluateConfig) -> None:
    """Raises the errors of `prepare_evaluation` before a run exists; it takes over the validation source opened here.

    A dataset at a URL is not fetched for that.

    Raises:
        InputError: the dataset, the validation source, the student or the protocol cannot be used.
    """
    if not is_url(config.dataset):
        with sources_kept():
            _open(config)


@stage_task("prepare-evaluation", "prepare · {config.short_name}")
def prepare_evaluation(config: EvaluateConfig) -> EvaluationPlan:
    """Returns the plan, after checks of dataset, validation source, student and protocol, before anything is trained.

    Raises:
        InputError: one of them cannot be used.
    """
    plan = _open(config)
    if not plan.protocol.one_hot:
        num_stored = DistilledDataset(plan.distilled.folder).num_epochs
        run_logger().info("%s", describe_uses(plan.epochs, num_stored=num_stored, seed=0))
    run_logger().info("%d validation images in %d classes", plan.val.num_items, len(plan.val.classes))
    log_left_out(plan.val)
    if is_source(plan.val, plan.run):
        run_logger().warning("--val %s holds the images the dataset was distilled from: not a fair measure", config.val)
    return plan


def _open(config: EvaluateConfig) -> EvaluationPlan:
    """Returns the plan of an evaluation whose inputs can all be used."""
    folder, run = find_dataset(config.dataset)
    dataset = DistilledDataset(folder)
    protocol = _find_protocol(config, dataset)
    epochs = config.epochs or dataset.training_epochs
    if not protocol.one_hot:
        _check_labels(dataset, min(epochs, dataset.num_epochs), run)
    build_network(config.student, num_classes=len(dataset.classes), size=int(dataset.recipe["size"]))
    val = align_classes(open_source(config.val, split="val"), dataset.classes)
    require_run_for_controls(config.dataset, run, config.controls)
    place = run or evaluation_folder(folder)
    require_writable(place.root)
    controls = {name: _control_config(place, name, config) for name in config.controls}
    distilled = TrainingSet("distilled", folder)
    return EvaluationPlan(place, distilled, controls, val=val, protocol=protocol, epochs=epochs)


def is_source(val: Source, run: RunFolder) -> bool:
    """Whether validation images are exactly those that the dataset was distilled from."""
    return holds_run(run) and val.digest() == read_run(run)["source"]["digest"]


def _find_protocol(config: EvaluateConfig, dataset: DistilledDataset) -> Protocol:
    """Returns the protocol to train under; raises InputError if the stored views are not that protocol's."""
    recorded = str(dataset.recipe["protocol"])
    wanted = find_protocol(config.protocol or recorded)
    if wanted.one_hot and config.loss == "gift":
        raise InputError("--loss gift needs soft labels, which --protocol hard does not use; drop one of them")
    if not wanted.one_hot and wanted.name != recorded:
        raise InputError(
            f"{config.dataset} holds labels of views drawn for --protocol {recorded}, not {wanted.name}; distil with "
            f"--protocol {wanted.name} into another --out, or evaluate with --protocol {recorded}"
        )
    return wanted


def _check_labels(dataset: DistilledDataset, num_epochs: int, run: RunFolder | None) -> None:
    """Raises InputError if a label table that students will read is missing."""
    for block in epoch_blocks(dataset.num_epochs, EPOCHS_PER_FILE):
        table = dataset.folder.soft_labels(block_name(block))
        if block.start < num_epochs and not table.is_file():
            remedy = f"run rded repair {run.root} to restore it" if run else "fetch it again"
            raise InputError(f"{table} is missing; {remedy}")


def _control_config(run: RunFolder, name: str, config: EvaluateConfig) -> DistillConfig:
    """Returns the config of a control: the dataset's own, with a different selection and folder."""
    require_published(run, read_run(run))
    # Controls are not scored, so the precision and decoder of the run's own scores do not matter.
    own = replace(config_of(run), precision="auto", decoder="cpu", device=config.device, workers=config.workers)
    recipe = DistilledDataset(DatasetFolder(run.dataset)).recipe  # labels as already chosen for the dataset
    own = replace(
        own, label_codec=recipe["label_codec"], label_epochs=recipe["label_epochs"], label_budget=None, force=True
    )
    return replace(own, selection=name, out=str(run.control(name)))


def control_set(plan: EvaluationPlan, name: str) -> TrainingSet:
    """Returns a control's dataset, which has to be made first."""
    return TrainingSet(name, DatasetFolder(RunFolder(plan.run.control(name)).dataset))


@stage_task("sum-up", "sum up {config.student} · {config.short_name}")
def sum_up(config: EvaluateConfig, plan: EvaluationPlan, results: dict[str, list[Record]]) -> dict[str, Any]:
    """Averages each set's students over seeds, writes the table as JSON and returns it."""
    _require_one_dataset(plan, results)
    dataset = DistilledDataset(plan.distilled.folder)
    name = evaluation_name(config, student_settings(config, plan.protocol.name, plan.epochs), plan.val)
    unit = "-".join([name, f"{config.seeds}seeds", *results])
    path = plan.run.evaluation(unit)
    table = {
        "dataset": as_shown(config.dataset),
        "val": config.val,
        "val_is_source": is_source(plan.val, plan.run),
        "student": config.student,
        "protocol": plan.protocol.name,
        "loss": config.loss,
        "ipc": dataset.recipe["ipc"],
        "num_classes": len(dataset.classes),
        "epochs": plan.epochs,
        "num_seeds": config.seeds,
        "path": as_shown(path),
        "sets": {name: summarise_students([record.facts for record in records]) for name, records in results.items()},
    }
    write_twins(path, plan.run.evaluation_copy(unit), table)
    return table


def _require_one_dataset(plan: EvaluationPlan, results: dict[str, list[Record]]) -> None:
    """Raises InputError if a set changed between two of its students, which must not be averaged then."""
    for name, records in results.items():
        folder = plan.distilled.folder if name == plan.distilled.name else control_set(plan, name).folder
        for record in records:
            require_same(folder, record.upstream["dataset"])


def summarise_students(students: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns mean and sample standard deviation over seeds of last and best accuracy, each in 0..1."""
    summary: dict[str, Any] = {"students": students}
    for measure in ("last_top1", "last_top5", "best_top1"):
        values = [float(student[measure]) for student in students]
        summary[measure] = {
            "mean": statistics.fmean(values),
            "std": statistics.stdev(values) if len(values) > 1 else None,
        }
    return summary
