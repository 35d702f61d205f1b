"""Claim a run folder: only for its own images, and for a control only with the source and networks of its run."""

from collections.abc import Collection
from typing import Any

from rded_core.errors import InputError
from rded_core.io.layout.run import RunFolder
from rded_core.io.layout.units import class_unit
from rded_core.io.run.run_json import holds_run, read_run, run_identity, write_run
from rded_core.io.sources.base import Source
from rded_core.text.wording import setting_words
from tasks.run.index import STAGE as INDEX_STAGE
from tasks.run.index import are_as_listed
from tasks.runtime.logs import run_logger

MAX_CHANGE_CHARS = 100


def claim_run(run: RunFolder, described: dict[str, Any], source: Source) -> None:
    """Writes run.json and logs what has changed since the last run here; each unit's record decides what that affects.

    Raises:
        InputError: as `require_same_images`.
    """
    require_same_images(run, described, source)
    if holds_run(run):
        before, now = run_identity(read_run(run)), run_identity(described)
        changed = [name for name in now if before.get(name) != now[name]]
        changes = {name: f"{setting_words(name)} {before.get(name)} -> {now[name]}" for name in changed}
        listed = [text if len(text) < MAX_CHANGE_CHARS else setting_words(name) for name, text in changes.items()]
        if listed:
            run_logger().info("changed since the last run in %s: %s", run.root, ", ".join(listed))
    write_run(run, described)


def require_same_images(run: RunFolder, described: dict[str, Any], source: Source) -> None:
    """Raises InputError if OUT holds a run of entirely different images, which this run would only replace.

    Args:
        run: the folder that OUT names.
        described: the contents that run.json will have.
        source: the current source.
    """
    if holds_run(run):
        before, now = run_identity(read_run(run)), run_identity(described)
        if before.get("config.source") != now["config.source"] and not _has_any(run, source):
            raise InputError(
                f"--out {run.root} holds a run of different images ({before['config.source']}); choose another --out"
            )
    elif any(run.stage(INDEX_STAGE).glob("[!.]*.json")) and not _has_any(run, source):
        raise InputError(
            f"--out {run.root} holds a run of different images (without any class of {source.spec}), whose run.json "
            "and its copy are lost; choose another --out"
        )


def _has_any(run: RunFolder, source: Source) -> bool:
    """Whether the run folder holds any class of a source."""
    return any(run.record(INDEX_STAGE, class_unit(label.folder)).is_file() for label in source.classes)


def check_control(run: RunFolder, described: dict[str, Any], source: Source, *, chosen: Collection[int] | None) -> None:
    """Raises InputError if a control would be made from other inputs than the run it is compared with.

    Args:
        run: any run; only controls are checked.
        described: the contents that run.json will have.
        source: the current source.
        chosen: classes to remake, if others are left alone, whose images then do not matter; None for all.
    """
    if run.owner is None:
        return
    before = read_run(run.owner)
    changed = [
        name for name in ("source", "observer", "teacher") if before[name]["digest"] != described[name]["digest"]
    ]
    if "source" in changed and chosen is not None and are_as_listed(run.owner, source, chosen):
        changed.remove("source")
    if before.get("algorithm_version") != described["algorithm_version"]:
        changed.append("rded's algorithm version")
    if changed:
        remedy = "distil again into a new --out, or pass --controls none"
        if chosen is not None:
            remedy = f"run rded distill --config {run.owner.run_json} and then rded evaluate to remake both"
        raise InputError(
            f"{' and '.join(changed)} changed since {run.owner.root} was distilled, so its controls would not be "
            f"comparable; {remedy}"
        )
