"""Open the source, the networks and the run folder; stop here if one of them cannot be used."""

from collections.abc import Collection, Generator
from contextlib import contextmanager
from dataclasses import replace

from rded_core.config import DistillConfig, Rerun
from rded_core.io.device.devices import resolve_device
from rded_core.io.device.jpegs import require_jpeg_decoder
from rded_core.io.networks.observers import Observer
from rded_core.io.remote.places import run_at
from rded_core.io.remote.transfer_order import all_but_candidates
from rded_core.io.remote.working_copy import run_to_change
from rded_core.io.run.forgotten import read_forgotten
from rded_core.io.run.lock import only_writer, require_no_writer
from rded_core.io.run.run_json import clear_leftovers, identity_digest, require_out
from rded_core.io.sources.base import NO_END_MARK, Source, describe_passed_over, lost_files
from rded_core.io.sources.spec import open_source, sources_kept
from rded_core.io.storage.files import shown_name
from rded_core.io.storage.urls import is_url
from tasks.run.claim import check_control, claim_run, require_same_images
from tasks.run.describe import absolute_paths, describe_run
from tasks.run.index import write_index
from tasks.run.networks import load_observer, load_teacher
from tasks.run.plan import WHOLE_RUN, RunPlan, chosen_classes, too_few
from tasks.runtime.logs import run_logger
from tasks.runtime.stage_task import stage_task


@contextmanager
def claim_out(config: DistillConfig) -> Generator[None]:
    """Locks OUT against other writers while a block runs; for a control, waits until the lock is free."""
    require_out(config.out, config.source)
    with run_to_change(config.out, all_but_candidates, may_be_new=True):
        run = run_at(config.out)
        with only_writer(run, wait=run.owner is not None):
            yield


def check_ahead(config: DistillConfig, rerun: Rerun) -> None:
    """Raises the errors of `prepare` before a run exists; it takes over the source and the networks opened here.

    Nothing is written. Of an OUT at a URL, only what `check_inputs` looks at is known yet.

    Raises:
        InputError: the source, a network, the IPC or OUT cannot be used.
        OutInUse: another process is writing to OUT.
    """
    config = replace(config, **absolute_paths(config))
    run = run_at(config.out)
    if not is_url(config.out):
        require_no_writer(run)
    with sources_kept():
        source = open_source(config.source, classes=config.classes, max_rejected=config.max_rejected)
    networks = _open_networks(config, source, chosen_classes(source, rerun))
    if not is_url(config.out):
        require_same_images(run, describe_run(config, source, *networks), source)


@stage_task("prepare", "prepare · {config.short_name}")
def prepare(config: DistillConfig, rerun: Rerun = WHOLE_RUN) -> RunPlan:
    """Lists the source, loads the networks, claims OUT and writes the index of each class.

    Raises:
        InputError: the source, a network, the IPC or OUT cannot be used.
    """
    config = replace(config, **absolute_paths(config))
    run = run_at(config.out)
    clear_leftovers(run)
    forgotten = read_forgotten(run)
    source = open_source(config.source, classes=config.classes, max_rejected=config.max_rejected)
    log_classes(source)
    chosen = chosen_classes(source, rerun)
    observer, teacher = _open_networks(config, source, chosen)
    _log_network("observer", observer, config.size)
    if teacher.digest != observer.digest:
        _log_network("teacher", teacher, config.size)
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


def _open_networks(config: DistillConfig, source: Source, chosen: Collection[int]) -> tuple[Observer, Observer]:
    """Returns the observer and the teacher of a run that has enough images of the chosen classes."""
    if config.decoder == "cuda":
        require_jpeg_decoder(resolve_device(config.device))
    if run_at(config.out).owner is None:  # a control draws no candidates
        check_counts(config, source, chosen)
    return load_observer(config, source.classes), load_teacher(config, source.classes)


def check_counts(config: DistillConfig, source: Source, chosen: Collection[int]) -> None:
    """Raises InputError if a chosen class has too few images for the IPC, unless fewer are allowed.

    Other classes stay as they were drawn, regardless of what has happened to their images since.
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
            "%d of %d classes have fewer than %d images (fewest: %s, %d): all their images are candidates",
            short, len(counts), config.num_candidates, shown_name(folder), fewest,
        )  # fmt: skip


def log_classes(source: Source) -> None:
    """Logs the size of a source, and the order of its classes."""
    num_classes = len(source.classes)
    first_names = ", ".join(shown_name(label.folder) for label in source.classes[:10])
    more = " ..." if num_classes > 10 else ""
    run_logger().info(
        "%s: %d images, %d classes in this order: %s%s", source.spec, source.num_items, num_classes, first_names, more
    )
    log_left_out(source)


def log_left_out(source: Source) -> None:
    """Logs what a source leaves out, a line per reason: as a warning if classes may lose images."""
    lost = {NO_END_MARK, *(entry.reason for entry in lost_files(source))}
    for line in describe_passed_over(source):
        log = run_logger().warning if line.partition(":")[0] in lost else run_logger().info
        log("left out of %s: %s", source.spec, line)


def _log_network(role: str, network: Observer, size: int) -> None:
    run_logger().info("%s %s: %s", role, network.spec, network.head_note)
    expected_px = network.preprocessing.size
    if expected_px and expected_px != size:
        run_logger().warning("the %s expects images of %d px, but --size is %d", role, expected_px, size)
