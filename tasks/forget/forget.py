"""Forgets source images: finds them, notes them, takes them out of the run's files, and reports the result."""

from collections import defaultdict
from typing import Any

from rded_core.config import DistillConfig
from rded_core.errors import InputError
from rded_core.io.dataset.distilled import DistilledDataset
from rded_core.io.formats.rows import CandidateRow, PublishedPatch
from rded_core.io.formats.schemas import CANDIDATES, LINEAGE, SCORES
from rded_core.io.formats.tables import read_rows
from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.layout.run import RunFolder
from rded_core.io.layout.units import class_unit
from rded_core.io.lineage.known_images import Uris, find_candidates, find_images_named, forgotten_before, tables_of
from rded_core.io.remote.working_copy import send_now
from rded_core.io.run.forgotten import Forgotten, begin_forgetting, end_forgetting, read_begun, write_forgotten
from rded_core.io.run.records import Record, find_record
from rded_core.io.run.removal import units_of
from rded_core.io.run.run_json import clear_traces, config_of, find_run
from tasks.forget.scrub import scrub
from tasks.run.plan import RunPlan
from tasks.runtime.stage_task import stage_task


class Forgetting:
    """A forgetting in progress.

    A plain class, so that Prefect does not traverse it.

    Attributes:
        plan: plan of the run without the images.
        asked: images to forget now.
        forgotten: all images that the run must leave out from now on.
        uris: URIs of those among `forgotten` that are candidates, or were until now.
        before: lineage as published before, with class folders.
        labels: records of label tables before, by block.
        controls: names of removed controls.
    """

    def __init__(self, plan: RunPlan, asked: Uris, uris: set[str]) -> None:
        self.plan, self.asked, self.forgotten, self.uris = plan, asked, plan.forgotten, uris
        self.before, self.labels = read_lineage(plan.run), _label_records(plan.run)
        self.controls: list[str] = []


def already_forgotten(out: str, images: list[str]) -> list[str]:
    """Returns the images' SHA-256, if a run has forgotten all of them before; raises InputError if there is no run."""
    return forgotten_before(find_run(out), images)


def config_to_forget_in(out: str) -> DistillConfig:
    """Returns the config of the run at `out`; raises InputError if there is no run."""
    return config_of(find_run(out))


def still_shown(plan: RunPlan, error: InputError) -> InputError:
    """Returns an error which adds that the images are noted, but the dataset still shows them."""
    return InputError(
        f"{error}; the images are noted as forgotten, but {plan.run.dataset} shows them until rded distill has finished"
    )


@stage_task("note", "note what to forget · {plan.config.short_name}")
def note_forgotten(plan: RunPlan, names: list[str]) -> Forgetting:
    """Finds the images and notes them: from here on, no run in this folder uses them, even after a crash.

    Raises:
        InputError: an image is unknown, or a class would have too few candidates left; nothing is changed.
    """
    asked = _find_asked(plan, names)
    digests = plan.forgotten.sha256 | frozenset(asked)
    by_class = {folder: set(known) for folder, known in plan.forgotten.by_class.items()}
    by_unit: defaultdict[str, list[CandidateRow]] = defaultdict(list)
    for unit, row in find_candidates(plan.run, digests):
        by_unit[unit].append(row)
        asked.get(row["source_sha256"], set()).add(row["source_uri"])
        by_class.setdefault(_folder_of(plan, unit), set()).add(row["source_sha256"])
    _require_enough(plan, by_unit)
    forgotten = Forgotten(digests, {folder: sorted(known) for folder, known in sorted(by_class.items())})
    begin_forgetting(plan.run, asked, {row["source_uri"] for rows in by_unit.values() for row in rows})
    write_forgotten(plan.run, forgotten)
    send_now(plan.run.root)
    return Forgetting(plan.without(forgotten), asked, set(read_begun(plan.run).uris))


@stage_task("scrub", "take out forgotten images · {plan.config.short_name}")
def scrub_work(plan: RunPlan, forgetting: Forgetting) -> Forgetting:
    """Takes the images out of candidates and scores, and drops everything else that shows them, including controls."""
    forgetting.controls = scrub(plan, forgetting.forgotten, forgetting.uris)
    return forgetting


def _find_asked(plan: RunPlan, names: list[str]) -> Uris:
    """Returns the named images, and those of an unfinished forgetting, with all their URIs."""
    asked: Uris = {digest: set(uris) for digest, uris in read_begun(plan.run).images.items()}
    for name, images in find_images_named(plan.run, names).items():
        if not images:
            raise InputError(
                f"unknown image {name!r}: not a candidate in the {len(tables_of(plan.run, 'candidates'))} classes that "
                f"{plan.run.root} has drawn from, not in its dataset's lineage, and not one of the "
                f"{sum(plan.num_source)} images of {plan.config.source}; give its URI as in the lineage, or its "
                "SHA-256 (all that is kept of a forgotten image)"
            )
        for digest, uris in images.items():
            asked.setdefault(digest, set()).update(uris)
    return asked


def _folder_of(plan: RunPlan, unit: str) -> str:
    """Returns the folder of a class, even if the class has left the run."""
    for label in plan.classes:
        if class_unit(label.folder) == unit:
            return label.folder
    record, _ = find_record(plan.run.record("index", unit))
    return str(record.settings["class"]) if record else unit


def _require_enough(plan: RunPlan, by_unit: dict[str, list[CandidateRow]]) -> None:
    """Raises InputError if a class of the run would have too few candidates left."""
    config = plan.config
    needed = config.candidates_per_image if config.allow_fewer else config.candidates_per_class
    for label in plan.classes:
        forgotten = {row["position"] for row in by_unit.get(class_unit(label.folder), [])}
        left = _usable(plan.run, class_unit(label.folder)) - forgotten if forgotten else None
        if left is not None and len(left) < needed:
            raise InputError(
                f"class {label.folder!r} would have {len(left)} usable candidates left, but {needed} are needed; "
                "nothing was changed; first run rded distill with more --num-candidates, with --allow-fewer, or with a "
                "lower --ipc"
            )


def _usable(run: RunFolder, unit: str) -> set[int]:
    """Returns the positions of a class's candidates that decode and have not been lost since."""
    try:
        scored = {row["position"] for row in read_rows(run.table("realism", unit), SCORES)}
    except InputError:  # not scored yet
        scored = {row["position"] for row in read_rows(run.table("candidates", unit), CANDIDATES)}
    selected, _ = find_record(run.record("selection", unit))
    return scored - set(selected.facts["lost"] if selected else ())


def read_lineage(run: RunFolder) -> list[PublishedPatch]:
    """Returns the lineage of a run's dataset, with the class's folder in each row; empty if there is no dataset."""
    folder = DatasetFolder(run.dataset)
    try:
        labels = DistilledDataset(folder).classes
        rows = [row for table in folder.lineage_tables() for row in read_rows(table, LINEAGE)]
    except InputError:
        return []
    for row in rows:
        row["folder"] = labels[row["class_index"]].folder
    return rows


def _label_records(run: RunFolder) -> dict[str, Record]:
    units = [unit for unit in units_of(run, ["soft_labels"]) if unit.startswith("epochs-")]
    records = {unit: find_record(run.record("soft_labels", unit))[0] for unit in units}
    return {unit: record for unit, record in records.items() if record}


@stage_task("sum-up-forgetting", "sum up what was forgotten")
def sum_up_forgetting(forgetting: Forgetting) -> dict[str, Any]:
    """Removes leftovers of distilling, ends the forgetting, and returns what was forgotten and what replaced it."""
    run = forgetting.plan.run
    clear_traces(run)
    before, now = forgetting.before, read_lineage(run)
    folders = {row["folder"] for row in before if row["source_sha256"] in forgetting.asked}
    patches_before = {_patch(row) for row in before}
    labels = _label_records(run)
    end_forgetting(run, forgetting.asked)
    made = [record.facts for unit, record in labels.items() if record != forgetting.labels.get(unit)]
    return {
        "dataset": str(run.dataset),
        "images": [_describe(forgetting, digest) for digest in sorted(forgetting.asked)],
        "uses": [row for row in before if row["source_sha256"] in forgetting.asked],
        "refilled": [row for row in now if row["folder"] in folders and _patch(row) not in patches_before],
        "num_changed": len(_contents(now) - _contents(before)),
        "num_images": len(_contents(now)),
        "num_labels": sum(record.facts["views"] for record in labels.values()),
        "num_labels_made": sum(facts["views"] - facts.get("reused_views", 0) for facts in made),
        "controls": forgetting.controls,
    }


def _describe(forgetting: Forgetting, digest: str) -> dict[str, Any]:
    classes = [folder for folder, known in forgetting.forgotten.by_class.items() if digest in known]
    return {"sha256": digest, "uris": sorted(forgetting.asked[digest]), "classes": classes}


def _patch(row: PublishedPatch) -> tuple[Any, ...]:
    """Returns what identifies a patch: its class, its source image and its box."""
    return tuple(row[name] for name in ("folder", "source_sha256", "box_top", "box_left", "box_height", "box_width"))


def _contents(rows: list[PublishedPatch]) -> set[tuple[Any, ...]]:
    """Returns each distilled image as its key followed by its patches."""
    images: defaultdict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for row in rows:
        images[row["key"]].append(_patch(row))
    return {(key, *patches) for key, patches in images.items()}
