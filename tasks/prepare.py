"""Open the source, the observer and the run folder; stop here if anything cannot work."""

from collections.abc import Collection, Generator
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict, replace
from typing import Any

from rded_core import ALGORITHM_VERSION
from rded_core.config.choices import Redo
from rded_core.config.distill import DistillConfig, Rerun
from rded_core.errors import InputError
from rded_core.io.device.devices import num_available_cores, resolve_device, resolve_precision
from rded_core.io.device.jpegs import require_jpeg_decoder
from rded_core.io.layout.run import RunFolder
from rded_core.io.layout.units import class_shards
from rded_core.io.networks.observers import Observer
from rded_core.io.remote.lease import held_token
from rded_core.io.remote.places import as_shown, run_at
from rded_core.io.remote.transfer_order import all_but_candidates
from rded_core.io.remote.working_copy import run_to_change
from rded_core.io.run.forgotten import Forgotten, read_forgotten
from rded_core.io.run.lock import only_writer
from rded_core.io.run.run_json import clear_leftovers, identity_digest, require_apart, require_free
from rded_core.io.sources.base import find_class
from rded_core.io.sources.spec import Source, absolute_spec, open_source
from rded_core.io.storage.urls import is_url
from rded_core.text.wording import counted
from tasks.claim import check_control, claim_run
from tasks.index import write_index
from tasks.networks import load_observer, load_teacher
from tasks.policies import stage_task
from tasks.progress import run_logger
from tasks.units import Scope, StageResult
from tasks.versions import current_versions

WHOLE_RUN = Rerun()

PATH_FIELDS = ("source", "weights", "observer_classes", "teacher_weights", "teacher_classes")


class RunPlan:
    """What a run is going to do, handed from task to task.

    No dataclass: Prefect walks into every list and dataclass that a task is called with, twice a task run, and a
    thousand classes in a thousand task runs cost it far more than the tasks' own work.

    Attributes:
        config: as resolved.
        rerun: what is to be done again, or left alone.
        identity: digest of all that the result depends on.
        classes: the source's, in index order.
        num_source: images of each class.
        shards: the classes of each task run.
        index: what became of each class's index.
        needs_tars: candidates are copied into tars (the source is none).
        forgotten: images that must not be used.
        observer: digest of the scoring network.
        outputs: its output for each class.
        teacher: digest of the labelling network.
        lock_token: of the lock that is held where OUT is a URL.
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
        self.observer, self.outputs = observer.digest, observer.outputs
        self.teacher, self._teacher_outputs = teacher.digest, teacher.outputs
        self._chosen = frozenset(chosen_classes(source, rerun))

    @property
    def run(self) -> RunFolder:
        """The run folder."""
        return run_at(self.config.out)

    def sharing_cores(self, num_processes: int) -> "RunPlan":
        """Returns the plan of a task that shares cores with other processes, whatever folder these are in."""
        plan = copy(self)
        workers = self.config.workers or max(num_available_cores() // num_processes, 1)
        plan.config = replace(
            self.config,
            out=absolute_spec(self.config.out),
            workers=workers if num_processes > 1 else self.config.workers,
        )
        return plan

    def scope(self, stage: Redo, index: int | None = None) -> Scope:
        """Returns how far this run may go with a class (or with all of them together) in a stage."""
        chosen = index is None or index in self._chosen
        if self.run.owner is not None and stage == "draw":  # what both draw is the owner's, as its scores know it
            return Scope(frozen=True)
        return Scope(redo=chosen and stage in self.rerun.redo, frozen=not chosen)

    def network_settings(self, role: str) -> dict[str, Any]:
        """Returns what the logits of the ``observer`` or ``teacher`` for the source's classes depend on."""
        digest, outputs = (self.observer, self.outputs) if role == "observer" else (self.teacher, self._teacher_outputs)
        return {role: digest, "outputs": list(outputs)}


@contextmanager
def claim_out(config: DistillConfig) -> Generator[None]:
    """Holds OUT against other writers while a block runs; where a control is made, it waits its turn."""
    run = run_at(config.out)
    require_apart(config.out, config.source)
    with run_to_change(config.out, all_but_candidates, may_be_new=True):
        require_free(run)
        with only_writer(run, wait=run.owner is not None):
            yield


@stage_task("prepare", "prepare · {config.short_name}")
def prepare(config: DistillConfig, rerun: Rerun = WHOLE_RUN) -> RunPlan:
    """Lists the source, loads the networks, claims OUT and writes the index of each class.

    Raises:
        InputError: source, observer, IPC or OUT cannot work.
    """
    config = replace(config, **absolute_paths(config))
    run = run_at(config.out)
    if config.decoder == "cuda":
        require_jpeg_decoder(resolve_device(config.device))
    clear_leftovers(run)
    forgotten = read_forgotten(run)
    source = open_source(config.source, classes=config.classes)
    tell_classes(source)
    chosen = chosen_classes(source, rerun)
    if run.owner is None:  # a control draws nothing
        check_counts(config, source, chosen)
    observer = load_observer(config, source.classes)
    teacher = load_teacher(config, source.classes)
    _tell_network("observer", observer, config.size)
    if teacher.digest != observer.digest:
        _tell_network("teacher", teacher, config.size)
    described = describe_run(config, source, observer, teacher)
    plan = RunPlan(
        config,
        rerun,
        source,
        identity=identity_digest(described),
        forgotten=forgotten,
        observer=observer,
        teacher=teacher,
    )
    check_control(run, described, source, chosen=None if rerun.only_classes is None else chosen)
    claim_run(run, described, source)
    scopes = [plan.scope("draw", label.index) for label in source.classes]
    plan.index = write_index(run, source, seed=config.seed, scopes=[replace(scope, redo=False) for scope in scopes])
    return plan


def chosen_classes(source: Source, rerun: Rerun) -> Collection[int]:
    """Returns the classes that a run may work on, by index: all, unless it is told some, or none."""
    if rerun.only_classes is None:
        return range(len(source.classes))
    return {find_class(source, name) for name in rerun.only_classes}


def check_counts(config: DistillConfig, source: Source, chosen: Collection[int]) -> None:
    """Raises InputError where one of the classes chosen has too few images for the IPC, unless fewer are allowed.

    Others are left as they were drawn, whatever has become of their images since.
    """
    if not chosen:
        return
    counts = [(len(source.items[index]), source.classes[index].folder) for index in chosen]
    fewest, folder = min(counts)
    if fewest < config.candidates_per_class and not config.allow_fewer:
        raise too_few(folder, fewest, fewest, config)
    short = sum(count < config.num_candidates for count, _ in counts)
    if short:
        run_logger().info(
            "%d of %d classes have fewer than %d images (fewest: %s, %d): all of theirs are candidates",
            short, len(counts), config.num_candidates, folder, fewest,
        )  # fmt: skip


def too_few(folder: str, num_usable: int, num_source: int, config: DistillConfig) -> InputError:
    """Returns the error of a class with too few usable candidates, with the largest IPC possible."""
    possible = num_usable // config.candidates_per_image
    remedy = f"the largest --ipc possible is {possible}, or give --allow-fewer"
    if possible == 0:
        remedy = "add images, leave the class out with --classes, or lower --factor"
    if num_usable < config.num_candidates <= num_source:
        remedy = f"{remedy}; or raise --num-candidates, since some candidates were rejected"
    return InputError(
        f"class {folder!r} has {num_usable} usable images, but factor² x ipc = {config.candidates_per_image} x "
        f"{config.ipc} = {config.candidates_per_class} are needed; {remedy}"
    )


def tell_classes(source: Source) -> None:
    """Logs what a source holds, and the order of its classes."""
    names = [label.folder for label in source.classes]
    shown = ", ".join(names[:10]) + (" ..." if len(names) > 10 else "")
    run_logger().info("%s: %d images, %d classes in this order: %s", source.spec, source.num_items, len(names), shown)
    if source.num_ignored_files:
        run_logger().info("%s passed over: no labelled images by name", counted(source.num_ignored_files, "file"))


def _tell_network(role: str, network: Observer, size: int) -> None:
    run_logger().info("%s %s: %s", role, network.spec, network.head_note)
    made_for = network.preprocessing.size
    if made_for and made_for != size:
        run_logger().warning("the %s was made for images of %d px, and sees %d px here (--size)", role, made_for, size)


def describe_run(config: DistillConfig, source: Source, observer: Observer, teacher: Observer) -> dict[str, Any]:
    """Returns what run.json says: what a run was asked to do, and with what."""
    return {
        "config": {**asdict(config), "out": as_shown(config.out)},
        "algorithm_version": ALGORITHM_VERSION,
        "source": {"digest": source.digest(), "num_images": source.num_items, "num_classes": len(source.classes)},
        "observer": describe_network(observer),
        "teacher": describe_network(teacher),
        "device": str(resolve_device(config.device)),
        "precision": str(resolve_precision(config.precision, resolve_device(config.device))).removeprefix("torch."),
        "versions": current_versions(),
    }


def absolute_paths(config: DistillConfig) -> dict[str, str]:
    """Returns the config's local paths, absolute, so that a run goes on, and run.json works, from any folder."""
    named = {name: getattr(config, name) for name in PATH_FIELDS}
    return {name: absolute_spec(path) for name, path in named.items() if path}


def describe_network(observer: Observer) -> dict[str, Any]:
    """Returns what records and recipes say of a network."""
    return {
        "spec": observer.spec,
        "digest": observer.digest,
        "head": observer.head_note,
        "mean": list(observer.preprocessing.mean),
        "std": list(observer.preprocessing.std),
        "trained_top1": observer.facts.get("top1"),
    }
