"""Checks whether a run's dataset is up to date with its source, networks and settings, without reading images."""

from dataclasses import replace
from typing import Any

from rded_core import __version__
from rded_core.config import DistillConfig
from rded_core.errors import OutInUse
from rded_core.io.formats.sealed import digest_of
from rded_core.io.layout.run import RunFolder
from rded_core.io.layout.units import class_unit
from rded_core.io.remote.places import as_shown, run_at
from rded_core.io.run.forgotten import Forgotten, is_forgetting, read_forgotten
from rded_core.io.run.inventory import CLASS_STAGES
from rded_core.io.run.records import Record, find_record, unit_settings, what_changed
from rded_core.io.run.run_json import holds_run, identity_digest, read_run
from rded_core.io.sources.base import Source, SourceClass
from rded_core.io.sources.spec import open_source
from rded_core.io.storage.files import shown_name
from rded_core.text.wording import setting_words
from tasks.publish.publish import STAGE, fault_of_dataset
from tasks.run.describe import absolute_paths, describe_network, describe_run
from tasks.run.networks import load_observer, load_teacher
from tasks.run.results import count_missing
from tasks.runtime.logs import run_logger
from tasks.runtime.stage_task import stage_task
from tasks.runtime.states import UNCHANGED, as_skipped, as_unchanged, is_scheduled

STOPPING_FIELDS = ("force", "max_rejected")
"""Config fields that do not change the result, but may stop a run."""


@stage_task("look", "look for changes · {config.short_name}")
def find_unchanged(config: DistillConfig) -> dict[str, Any] | None:
    """Returns the dataset's record if distilling again would not change it, else None.

    As distilling does, this lists the source, reads the networks' weights, follows each class's records from its source
    images to its tiles, and checks every file of the dataset against its digest. Files in ``work/`` are not read, since
    the dataset no longer depends on them.

    Raises:
        InputError: source or networks cannot be opened.
    """
    config = replace(config, **absolute_paths(config))
    run = run_at(config.out)
    record, reason = find_record(run.record(STAGE, "dataset"))
    if record is None or not holds_run(run) or is_forgetting(run):
        reason = reason or "the last run did not finish"
    else:
        source = open_source(config.source, classes=config.classes)
        reason = _what_changed(config, source, record) or fault_of_dataset(run, record)
    if record is None or reason:
        run_logger().info("not up to date: %s", reason)
        return None
    facts = {"out": config.out, "dataset": as_shown(run.dataset), "missing": [], "warnings": record.facts["notes"]}
    return {**record.facts["summary"], **facts, "work": []}


def end_unchanged(record: dict[str, Any]) -> Any:
    """Ends a flow that had nothing to do with a state that says so; without Prefect, returns the record alone."""
    run_logger().info("%s: %s is up to date", UNCHANGED, record["dataset"])
    return as_unchanged(record)


def end_skipped(config: DistillConfig, error: OutInUse) -> Any:
    """Ends a scheduled flow that met another writer as skipped; the next one looks for changes again.

    Raises:
        OutInUse: `error`, if a person started the flow.
    """
    if not is_scheduled():
        raise error
    why = str(error).partition(";")[0]
    run_logger().warning("skipped: %s; the next scheduled refresh looks for changes again", why)
    return as_skipped({"out": config.out, "changed": False, "skipped": why}, why)


def _what_changed(config: DistillConfig, source: Source, record: Record) -> str:
    """Returns what has changed since the dataset was published; empty if nothing has."""
    run = run_at(config.out)
    recorded = read_run(run)["config"]
    if changed := [name for name in STOPPING_FIELDS if recorded.get(name) != getattr(config, name)]:
        return f"{setting_words(changed[0])} changed"
    networks = (load_observer(config, source.classes), load_teacher(config, source.classes))
    settings = {"settings": identity_digest(describe_run(config, source, *networks)), "rded": __version__}
    upstream = {**record.upstream, "networks": digest_of([describe_network(network) for network in networks])}
    if reason := what_changed(record, unit_settings(settings), upstream):
        return reason
    forgotten, images = read_forgotten(run), list[list[str]]()
    for label in source.classes:
        reason, digest = _follow(run, source, label, forgotten)
        if reason:
            return f"class {shown_name(label.folder)}: {reason}"
        images.append([label.folder, digest])
    return what_changed(record, record.settings, {**record.upstream, "images": digest_of(images)})


def _follow(run: RunFolder, source: Source, label: SourceClass, forgotten: Forgotten) -> tuple[str, str]:
    """Follows a class's records; returns why they are out of date (or nothing), and the digest of its images."""
    name = class_unit(label.folder)
    read = [find_record(run.record(stage, name)) for stage in CLASS_STAGES]
    records = [record for record, _ in read if record]
    if len(records) < len(CLASS_STAGES):
        return next(reason for record, reason in read if not record), ""
    listed, drawn, scored, selected, tiled = records
    made_of = (
        ("source images", listed.upstream.get("images"), source.class_digest(label.index)),
        ("forgotten images", drawn.settings.get("forgotten"), forgotten.mark_of_class(label.folder)),
        ("listed images", drawn.upstream.get("images"), listed.outputs_digest()),
        ("candidates", scored.upstream.get("candidates"), drawn.facts["content"]),
        ("scores", selected.upstream.get("scores"), scored.outputs_digest()),
        ("candidates", selected.upstream.get("candidates"), drawn.facts["content"]),
        ("selection", tiled.upstream.get("selection"), selected.outputs_digest()),
    )
    if changed := [what for what, before, now in made_of if before != now]:
        return f"{changed[0]} changed", ""
    reason = count_missing(drawn) or count_missing(scored) or ("candidates were lost" if selected.facts["lost"] else "")
    return reason, tiled.facts["sha256"]
