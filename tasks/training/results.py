"""Results of trained students: names, settings, files."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rded_core.config import DistillConfig, EvaluateConfig
from rded_core.errors import InputError
from rded_core.io.formats.sealed import DamagedRecord, digest_of, read_sealed, seal
from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.layout.run import RunFolder
from rded_core.io.run.records import Record, find_record, write_record
from rded_core.io.sources.base import Source
from rded_core.io.storage.atomic import write_text
from rded_core.io.storage.files import file_digest
from rded_core.training.protocols import Protocol

STAGE = "students"


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """A dataset that an evaluation trains students on.

    Attributes:
        name: ``distilled``, or the name of a control.
        folder: folder of the dataset.
    """

    name: str
    folder: DatasetFolder


class EvaluationPlan:
    """What an evaluation is going to do, resolved once for all its students.

    A plain class: Prefect walks into every dataclass that a task is called with, and `val` lists every image.

    Attributes:
        run: where results go: the dataset's run folder, or a folder next to a dataset that has none.
        distilled: the dataset.
        controls: the config that makes each control, by name.
        val: the validation images, in the dataset's class order.
        protocol: how students are trained.
        epochs: for how long.
    """

    def __init__(
        self,
        run: RunFolder,
        distilled: TrainingSet,
        controls: dict[str, DistillConfig],
        *,
        val: Source,
        protocol: Protocol,
        epochs: int,
    ) -> None:
        self.run, self.distilled, self.controls = run, distilled, controls
        self.val, self.protocol, self.epochs = val, protocol, epochs


def sums_of(folder: DatasetFolder) -> str:
    """Returns the digest of a dataset's SHA256SUMS, which differs for other images, labels or recipe.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        return file_digest(folder.sums)
    except OSError as error:
        raise InputError(
            f"{folder.sums} cannot be read ({error.strerror}); run rded repair on the run folder, or fetch the dataset "
            "again if it has none"
        ) from error


def require_same(folder: DatasetFolder, sums: str) -> None:
    """Raises InputError if a dataset no longer has these sums: labels are read by path in each epoch.

    No lock is held for the hours of a training: another process may write the dataset, and the student is abandoned.
    """
    try:
        now = file_digest(folder.sums)
    except OSError:
        now = ""
    if now != sums:
        raise InputError(
            f"{folder.root} changed while students were training on it, so this result is not recorded; run the same "
            "rded evaluate again"
        )


def write_result(path: Path, facts: dict[str, Any], settings: dict[str, Any], upstream: dict[str, str]) -> None:
    """Writes a student's result with the contents of its record, so that either can be restored from the other."""
    content = {**facts, "settings": settings, "upstream": upstream}
    write_text(path, seal(json.loads(json.dumps(content, sort_keys=True))))  # sorted, like the facts in the record


def mend_student(run: RunFolder, name: str) -> bool:
    """Restores a student's result from its record, or the record from the result; False if both are lost."""
    result = run.student(name)
    record, _ = find_record(run.record(STAGE, name))
    if record is not None:
        write_result(result, record.facts, record.settings, record.upstream)
        return True
    try:
        facts = read_sealed(result)
        settings, upstream = facts.pop("settings"), facts.pop("upstream")
    except (OSError, DamagedRecord, KeyError):
        return False
    outputs = {result.name: file_digest(result)}
    write_record(run.record(STAGE, name), Record(STAGE, name, settings, upstream, outputs, facts))
    return True


def student_settings(config: EvaluateConfig, protocol: str, epochs: int) -> dict[str, Any]:
    """Returns everything a student's accuracy depends on, except its seed and data."""
    fields = ("student", "lr", "extra_forward", "loss", "looks", "compile")
    return {"protocol": protocol, "epochs": epochs, **{name: getattr(config, name) for name in fields}}


def evaluation_name(config: EvaluateConfig, settings: dict[str, Any], val: Source) -> str:
    """Returns a name of results: the main settings, and a digest of all settings and the validation images."""
    digest = digest_of([settings, val.digest()])[:8]
    return f"{config.student}-{settings['protocol']}-e{settings['epochs']}-{digest}"
