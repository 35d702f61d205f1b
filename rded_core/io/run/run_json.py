"""run.json: what a run was asked to do, and with which inputs."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from rded_core.config import DistillConfig
from rded_core.errors import InputError
from rded_core.io.formats.sealed import DamagedRecord, digest_of, read_sealed, seal
from rded_core.io.layout.run import STAGES, RunFolder
from rded_core.io.run.records import Record, find_record
from rded_core.io.storage.atomic import is_temporary, remove_abandoned, remove_temporaries, write_text
from rded_core.io.storage.files import kind_of, os_errors_as_input_errors, require_writable
from rded_core.io.storage.swap import end_swap
from rded_core.io.storage.urls import is_url, require_url_form

NEUTRAL_FIELDS = {
    "out", "device", "precision", "workers", "classes_per_shard", "force", "max_rejected",
}  # fmt: skip
"""Config fields that do not affect the result."""


def read_run(run: RunFolder) -> dict[str, Any]:
    """Reads run.json, or its copy if it is missing or damaged; raises InputError if both are."""
    reasons: list[str] = []
    for path in (run.run_json, run.run_json_copy):
        try:
            described = read_sealed(path)
            for name in ("source", "observer", "teacher"):
                described[name]["digest"]
            dict(described["config"])
        except (OSError, DamagedRecord, KeyError, TypeError, ValueError) as error:
            reasons.append(str(error))
        else:
            return described
    raise InputError(
        f"{run.run_json} and its copy are damaged, or from an older rded ({reasons[0]}); choose another --out, or "
        "delete both and run rded distill with the same flags as before: it reuses the files that are there"
    )


def holds_run(run: RunFolder) -> bool:
    """Returns True if a folder is a run folder."""
    return run.run_json.is_file() or run.run_json_copy.is_file()


def find_run(path: str) -> RunFolder:
    """Returns the run folder that a user names by its own path, or by its dataset's.

    Raises:
        InputError: the run folder does not exist, or is a control, which is not changed on its own.
    """
    root = Path(path)
    run = next((each for each in (RunFolder(root), RunFolder(root.resolve().parent)) if holds_run(each)), None)
    if run is None or (run.root != root and root.resolve() != run.dataset):
        raise InputError(f"no run folder at {path}; pass the --out folder of rded distill")
    if owner := RunFolder(run.root.resolve()).owner:
        raise InputError(f"{path} is a control of {owner.root}; pass that folder")
    return run


def write_run(run: RunFolder, described: dict[str, Any]) -> None:
    """Writes run.json and its copy, unless they already hold this content."""
    text = seal(json.loads(json.dumps(described)))
    for path in (run.run_json_copy, run.run_json):
        try:
            unchanged = path.read_text(encoding="utf-8") == text
        except (OSError, UnicodeDecodeError):
            unchanged = False
        if not unchanged:
            write_text(path, text)


def clear_leftovers(run: RunFolder) -> None:
    """Removes half-written files of killed runs and finishes their interrupted swap; for the only writer."""
    with os_errors_as_input_errors(run.root):
        end_swap(run.staged_dataset, run.dataset)
        for folder in run.written_folders():
            remove_abandoned(folder)


def clear_traces(run: RunFolder) -> None:
    """Removes half-written files that may hold a source image, of any machine; for the only writer.

    Call it while none of the run's own tasks runs, as no process may write then: a worker on another machine, of a run
    that died without it, can no longer finish its file, and must not. (A restarted container is a different machine by
    its name.) Only students and results are written without the lock, and they hold no image.
    """
    clear_leftovers(run)
    unlocked = (run.student("any").parent, run.evaluation_copy("any").parent)
    with os_errors_as_input_errors(run.root):
        for folder in (*run.written_folders(), *(path for path in run.dataset.rglob("*") if path.is_dir())):
            if folder not in unlocked:
                remove_temporaries(folder)


def run_identity(described: dict[str, Any]) -> dict[str, Any]:
    """Returns what makes two runs the same run: everything the result depends on, by name."""
    fields = {f"config.{name}": value for name, value in described["config"].items() if name not in NEUTRAL_FIELDS}
    digests = {f"{name}.digest": described[name]["digest"] for name in ("source", "observer", "teacher")}
    return json.loads(json.dumps({**fields, **digests, "algorithm_version": described["algorithm_version"]}))


def identity_digest(described: dict[str, Any]) -> str:
    """Returns one digest of a run's identity."""
    return digest_of(run_identity(described))


def is_published_as(record: Record, described: dict[str, Any]) -> bool:
    """Returns True if a dataset's record is from the run that run.json describes now."""
    return record.settings.get("settings") == identity_digest(described)


def require_published(run: RunFolder, described: dict[str, Any]) -> None:
    """Raises InputError if the dataset does not match run.json: restarted with other settings, and not finished."""
    record, _ = find_record(run.record("publish", "dataset"))
    if record is None or not is_published_as(record, described):
        raise InputError(
            f"the run in {run.root} was restarted with different settings and is not finished, so its controls would "
            "not be comparable; rerun rded distill, or pass --controls none"
        )


def require_run_for_controls(dataset: str, run: RunFolder | None, controls: tuple[str, ...]) -> None:
    """Raises InputError if controls are to be made for a dataset that lies outside its run folder."""
    if controls and run is None:
        raise InputError(
            f"{dataset} is outside its run folder, from which controls are made; pass the --out folder of rded "
            "distill, or --controls none"
        )


def require_out(out: str, source: str) -> None:
    """Raises InputError if OUT cannot hold a run of `source`: by its form, its place, or its content.

    Creates nothing. For a URL, only its form is checked; `require_folder_at` queries the storage.
    """
    require_url_form(out)
    require_apart(out, source)
    if not is_url(out):
        require_free(RunFolder(Path(out)))


def require_free(run: RunFolder) -> None:
    """Raises InputError if OUT cannot be written, or holds something that is not ours; creates nothing.

    A list of images to forget may exist before the run.
    """
    with os_errors_as_input_errors(run.root):
        if kind_of(run.root) == "folder" and not holds_run(run) and (other := _first_other(run)):
            raise InputError(
                f"--out {run.root} is not empty and holds no rded run ({other.relative_to(run.root)} is there); "
                "choose a new or empty folder"
            )
    require_writable(run.root)


def _first_other(run: RunFolder) -> Path | None:
    """Returns a file that cannot be from a run that was killed early or lost its run.json; None if all files can be."""
    files = {run.lock, run.forgotten, run.forgotten_copy, run.forgetting}
    ours = {*map(run.stage, STAGES), run.staged_dataset}
    if any(run.stage("publish").glob("*.json")):  # it was finished once
        ours |= {run.dataset, *(run.root / "work" / name for name in ("controls", "students", "evaluations"))}
        ours.add(run.evaluation("any").parent)
    paths = (path for path in run.root.rglob("*") if path not in files and not path.is_dir())
    return next((path for path in paths if ours.isdisjoint(path.parents) and not is_temporary(path)), None)


def require_apart(out: str, source: str) -> None:
    """Raises InputError if OUT lies inside the source of its run, which would then include the run's files."""
    if is_url(out) != is_url(source):
        return
    if is_url(out):
        inside = f"{out.rstrip('/')}/".startswith(f"{source.rstrip('/')}/")
    else:
        kind_of(Path(out))  # raises InputError for an invalid path
        inside = Path(out).resolve().is_relative_to(Path(source).resolve())
    if inside:
        raise InputError(f"--out {out} lies inside the source {source}; choose a folder outside it")


def config_of(run: RunFolder) -> DistillConfig:
    """Returns the config that a run was last started with, with `out` set to the present path of its folder.

    Raises:
        InputError: run.json and its copy are damaged, or from a different version.
    """
    fields = read_run(run)["config"]
    fields["classes"] = tuple(fields["classes"]) if fields["classes"] else None
    try:
        return replace(DistillConfig(**fields), out=str(run.root))
    except TypeError as error:
        raise InputError(f"{run.run_json} was written by another rded version ({error}); distil again") from error
