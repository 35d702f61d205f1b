"""Plan of a finished run, from its own files and on the CPU, to compute parts of it again without its source."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import nn

from rded_core.errors import InputError
from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.layout.run import RunFolder
from rded_core.io.networks.observers import Observer
from rded_core.io.run.forgotten import Forgotten
from rded_core.io.run.records import find_record
from rded_core.io.run.run_json import config_of, is_published_as, read_run
from rded_core.io.sources.base import Source, SourceClass
from rded_core.networks.preprocessing import Preprocessing
from tasks.run.networks import load_observer, load_teacher
from tasks.run.plan import WHOLE_RUN, RunPlan


@dataclass(frozen=True, slots=True)
class Reopened:
    """A run that can be computed again.

    Attributes:
        plan: plan of the run, on the CPU; its source has classes but no images.
        absent: why a network is unavailable, by ``observer`` or ``teacher``.
    """

    plan: RunPlan
    absent: dict[str, str]


def reopen(run: RunFolder) -> Reopened:
    """Returns a finished run, opened to compute parts of it again.

    Raises:
        InputError: it is not finished, or its small files are damaged.
    """
    described = read_run(run)
    published, _ = find_record(run.record("publish", "dataset"))
    if published is None or not is_published_as(published, described):
        raise InputError("the run is not finished, or its record is damaged; finish it with rded distill first")
    config = replace(config_of(run), device="cpu", precision="float32", decoder="cpu")
    classes = _read_classes(DatasetFolder(run.dataset))
    absent: dict[str, str] = {}
    networks: dict[str, Observer] = {}
    for role, load in (("observer", load_observer), ("teacher", load_teacher)):
        networks[role] = _load(role, partial(load, config, classes), described[role]["digest"], absent)
    source = Source(config.source, classes, tuple(() for _ in classes))
    plan = RunPlan(
        config,
        WHOLE_RUN,
        source,
        identity="",
        forgotten=Forgotten(),
        observer=networks["observer"],
        teacher=networks["teacher"],
    )
    return Reopened(plan, absent)


def _read_classes(dataset: DatasetFolder) -> tuple[SourceClass, ...]:
    try:
        entries: list[dict[str, Any]] = json.loads(dataset.classes.read_text(encoding="utf-8"))
        return tuple(SourceClass(entry["index"], entry["name"], entry["wnid"], entry["folder"]) for entry in entries)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{dataset.classes} cannot be read ({error}); run rded repair") from error


def _load(role: str, load: Callable[[], Observer], digest: str, absent: dict[str, str]) -> Observer:
    """Returns a network; if it is not the run's, a placeholder, with the reason in `absent`."""
    try:
        network = load()
        if network.digest == digest:
            return network
        absent[role] = f"the weights of {network.spec} are not those of the run's {role}"
    except InputError as error:
        absent[role] = str(error)
    placeholder = nn.Identity()
    return Observer(placeholder, placeholder, (), Preprocessing(), digest="", head_note="", spec="", facts={})
