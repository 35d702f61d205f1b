"""The plan of a run: config, classes, class shards and networks."""

from collections.abc import Collection
from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import Any

from rded_core.config import DistillConfig, Rerun
from rded_core.config.choices import Redo
from rded_core.errors import InputError
from rded_core.io.device.devices import num_available_cores
from rded_core.io.layout.run import RunFolder
from rded_core.io.layout.units import class_shards, class_unit
from rded_core.io.networks.observers import Observer
from rded_core.io.remote.lease import held_token
from rded_core.io.remote.places import run_at
from rded_core.io.run.forgotten import Forgotten
from rded_core.io.sources.base import Source, describe_passed_over, find_classes, lost_files
from rded_core.io.sources.spec import absolute_spec
from rded_core.io.storage.urls import is_url
from tasks.run.results import StageResult
from tasks.run.worklist import Scope

WHOLE_RUN = Rerun()


class RunPlan:
    """What a run is going to do, passed from task to task.

    Not a dataclass: Prefect walks into every list and dataclass that a task is called with, twice per task run. For a
    thousand classes in a thousand task runs this takes far longer than the tasks' own work.

    Attributes:
        config: the resolved config.
        rerun: what to redo, or to leave alone.
        identity: digest of everything that the result depends on.
        classes: the source's classes, in index order.
        num_source: number of images of each class.
        shards: the classes of each task run.
        index: the result of listing each class.
        needs_tars: whether candidates are copied into tars (not if the source is tars).
        forgotten: images that must not be used.
        left_out: lines about files of the source that may be images and are not read.
        observer: digest of the scoring network.
        outputs: the observer's output for each class.
        teacher: digest of the labelling network.
        lock_token: token of the lock that is held if OUT is a URL.
    """

    index: StageResult

    def __init__(
        self,
        config: DistillConfig,
        rerun: Rerun,
        source: Source,
        *,
        identity: str,
        forgotten: Forgotten,
        observer: Observer,
        teacher: Observer,
    ) -> None:
        self.config, self.rerun, self.identity, self.forgotten = config, rerun, identity, forgotten
        self.lock_token = held_token(config.out) if is_url(config.out) else ""
        self.classes = source.classes
        self.num_source = tuple(len(items) for items in source.items)
        self.shards = tuple(class_shards(len(source.classes), config.classes_per_shard))
        self.needs_tars = not source.is_webdataset
        self.left_out = tuple(describe_passed_over(replace(source, passed_over=lost_files(source))))
        self.observer, self.outputs = observer.digest, observer.outputs
        self.teacher, self._teacher_outputs = teacher.digest, teacher.outputs
        self._chosen = frozenset(chosen_classes(source, rerun))

    @cached_property
    def run(self) -> RunFolder:
        """The run folder; for a URL, the local copy of the process that asks."""
        return run_at(self.config.out)

    def __getstate__(self) -> dict[str, Any]:
        """Leaves the run folder out: on another machine, the local copy of a URL lies elsewhere."""
        return {name: value for name, value in vars(self).items() if name != "run"}

    def sharing_cores(self, num_processes: int) -> "RunPlan":
        """Returns the plan for tasks that share cores with other processes, which may work in any folder."""
        plan = copy(self)  # without its run folder, see __getstate__
        workers = self.config.workers or max(num_available_cores() // num_processes, 1)
        plan.config = replace(
            self.config,
            out=absolute_spec(self.config.out),
            workers=workers if num_processes > 1 else self.config.workers,
        )
        return plan

    def without(self, forgotten: Forgotten) -> "RunPlan":
        """Returns the plan of the same run once more images are forgotten."""
        plan = copy(self)
        plan.forgotten = forgotten
        return plan

    def unit(self, index: int) -> str:
        """Returns the name that a class's files bear in every stage."""
        return class_unit(self.classes[index].folder)

    def scope(self, stage: Redo, index: int | None = None) -> Scope:
        """Returns what this run may do with a class (or with all classes together) in a stage."""
        chosen = index is None or index in self._chosen
        if (
            self.run.owner is not None and stage == "draw"
        ):  # a control uses its owner's candidates, which the owner's scores refer to
            return Scope(frozen=True)
        return Scope(redo=chosen and stage in self.rerun.redo, frozen=not chosen)

    def network_settings(self, role: str) -> dict[str, Any]:
        """Returns the settings that the ``observer``'s or ``teacher``'s logits for the source's classes depend on."""
        digest, outputs = (self.observer, self.outputs) if role == "observer" else (self.teacher, self._teacher_outputs)
        return {role: digest, "outputs": list(outputs)}


def chosen_classes(source: Source, rerun: Rerun) -> Collection[int]:
    """Returns the indices of the classes that a run may work on: all, unless ``only_classes`` names some or none."""
    if rerun.only_classes is None:
        return range(len(source.classes))
    return find_classes(source, rerun.only_classes)


def too_few(folder: str, num_usable: int, num_source: int, config: DistillConfig, *, rejected: str = "") -> InputError:
    """Returns the error of a class with too few usable candidates, with the largest IPC possible.

    `rejected` says why others are not usable.
    """
    possible = num_usable // config.candidates_per_image
    remedy = f"lower --ipc to {possible}, or pass --allow-fewer"
    if possible == 0:
        remedy = "add images, leave the class out with --classes, or lower --factor"
    if num_usable < config.num_candidates <= num_source:
        remedy = f"{remedy}; or raise --num-candidates, since some candidates were rejected"
    others = f" (rejected: {rejected})" if rejected else ""
    return InputError(
        f"class {folder!r} has {num_usable} usable images{others}, but factor² x ipc = {config.candidates_per_image} x "
        f"{config.ipc} = {config.candidates_per_class} are needed; {remedy}"
    )
