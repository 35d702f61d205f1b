"""Take a run folder: only for images that are its own, and for a control only of what its run was made of."""

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
    """Writes run.json and says what has changed since the last run here; what that means is up to each unit's record.

    Raises:
        InputError: OUT holds a run of other images altogether, so that going on would only replace it.
    """
    if holds_run(run):
        before, now = run_identity(read_run(run)), run_identity(described)
        changed = [name for name in now if before.get(name) != now[name]]
        if "config.source" in changed and not _has_any(run, source):
            raise InputError(
                f"--out {run.root} holds a run of other images ({before['config.source']}); choose another --out"
            )
        told = {name: f"{setting_words(name)} {before.get(name)} -> {now[name]}" for name in changed}
        shown = [text if len(text) < MAX_CHANGE_CHARS else setting_words(name) for name, text in told.items()]
        if shown:
            run_logger().info("changed since the last run in %s: %s", run.root, ", ".join(shown))
    elif any(run.stage(INDEX_STAGE).glob("[!.]*.json")) and not _has_any(run, source):
        raise InputError(
            f"--out {run.root} holds a run of other images, whose run.json and its copy are lost (it has no class of "
            f"{source.spec}); choose another --out"
        )
    write_run(run, described)


def _has_any(run: RunFolder, source: Source) -> bool:
    """Tells whether the run folder holds anything of any class of a source."""
    return any(run.record(INDEX_STAGE, class_unit(label.folder)).is_file() for label in source.classes)


def check_control(run: RunFolder, described: dict[str, Any], source: Source, *, chosen: Collection[int] | None) -> None:
    """Raises InputError where a control would be made of other things than the run it is compared with.

    Args:
        run: any run; only controls are checked.
        described: as run.json will describe it.
        source: what there is now.
        chosen: classes that are made again, where others are left alone, whose images then do not matter.
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
        remedy = "distil again into a new --out, or give --controls none"
        if chosen is not None:
            remedy = f"rded distill --config {run.owner.run_json} and then rded evaluate make both of what is there now"
        raise InputError(
            f"{' and '.join(changed)} changed since {run.owner.root} was distilled, so its controls would not be "
            f"comparable; {remedy}"
        )
