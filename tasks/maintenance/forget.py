"""Forget source images: find them, note them, take them out of the run's files, and say what was done."""

from collections import defaultdict
from typing import Any

from rded_core.config import DistillConfig
from rded_core.errors import InputError
from rded_core.io.dataset.distilled import DistilledDataset
from rded_core.io.formats.schemas import CANDIDATES, LINEAGE, SCORES
from rded_core.io.formats.tables import read_rows
from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.layout.run import RunFolder
from rded_core.io.layout.units import class_unit
from rded_core.io.lineage.known_images import Uris, find_candidates, find_images_named, forgotten_before, tables_of
from rded_core.io.lineage.tables import Row
from rded_core.io.remote.working_copy import send_now
from rded_core.io.run.forgotten import Forgotten, begin_forgetting, end_forgetting, read_begun, write_forgotten
from rded_core.io.run.records import Record, find_record
from rded_core.io.run.removal import units_of
from rded_core.io.run.run_json import clear_traces, config_of, find_run
from tasks.maintenance.scrub import scrub
from tasks.run.plan import RunPlan
from tasks.runtime.stage_task import stage_task


class Forgetting:
    """What is being forgotten.

    A plain class, so that Prefect does not walk into it.

    Attributes:
        plan: of the run without the images.
        asked: the images asked for.
        forgotten: all that the run must be without now.
        uris: of all of these that are candidates, or were until now.
        before: lineage as published before, with class folders.
        labels: records of label tables before, by block.
        controls: names of those removed.
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
    """Returns an error that says that the images are noted, although the dataset could not be made without them."""
    return InputError(
        f"{error}; the images are noted as forgotten, but {plan.run.dataset} shows them until rded distill has run "
        "through"
    )


@stage_task("note", "note what to forget · {plan.config.short_name}")
def note_forgotten(plan: RunPlan, names: list[str]) -> Forgetting:
    """Finds the images and notes them: from here on, no run in this folder uses them, whatever happens next.

    Raises:
        InputError: an image is not to be found, or a class would have too few left; nothing is changed.
    """
    asked = _find_asked(plan, names)
    digests = plan.forgotten.sha256 | frozenset(asked)
    by_class = {folder: set(known) for folder, known in plan.forgotten.by_class.items()}
    found: defaultdict[str, list[Row]] = defaultdict(list)
    for unit, row in find_candidates(plan.run, digests):
        found[unit].append(row)
        asked.get(row["source_sha256"], set()).add(row["source_uri"])
        by_class.setdefault(_folder_of(plan, unit), set()).add(row["source_sha256"])
    _require_enough(plan, found)
    forgotten = Forgotten(digests, {folder: sorted(known) for folder, known in sorted(by_class.items())})
    begin_forgetting(plan.run, asked, {row["source_uri"] for rows in found.values() for row in rows})
    write_forgotten(plan.run, forgotten)
    send_now(plan.run.root)
    return Forgetting(plan.without(forgotten), asked, set(read_begun(plan.run).uris))


@stage_task("scrub", "take out forgotten images · {plan.config.short_name}")
def scrub_work(plan: RunPlan, forgetting: Forgetting) -> Forgetting:
    """Takes the images out of candidates, scores, whatever shows them in ``work/``, and controls."""
    forgetting.controls = scrub(plan, forgetting.forgotten, forgetting.uris)
    return forgetting


def _find_asked(plan: RunPlan, names: list[str]) -> Uris:
    """Returns the images that bear the names, and those of a forgetting that has not ended, with all their URIs."""
    asked: Uris = {digest: set(uris) for digest, uris in read_begun(plan.run).images.items()}
    for name, found in find_images_named(plan.run, names).items():
        if not found:
            raise InputError(
                f"no image {name!r}: it is no candidate in the {len(tables_of(plan.run, 'candidates'))} classes that "
                f"{plan.run.root} has drawn from, nor in its dataset's lineage, nor one of the {sum(plan.num_source)} "
                f"images of {plan.config.source}; give its URI as lineage names it, or its SHA-256 (of an image that "
                "was forgotten, no more than that is kept)"
            )
        for digest, uris in found.items():
            asked.setdefault(digest, set()).update(uris)
    return asked


def _folder_of(plan: RunPlan, unit: str) -> str:
    """Returns the folder of a class, also of one that is no longer part of the run."""
    for label in plan.classes:
        if class_unit(label.folder) == unit:
            return label.folder
    record, _ = find_record(plan.run.record("index", unit))
    return str(record.settings["class"]) if record else unit


def _require_enough(plan: RunPlan, found: dict[str, list[Row]]) -> None:
    """Raises InputError where a class of the run would have too few candidates left."""
    config = plan.config
    needed = config.candidates_per_image if config.allow_fewer else config.candidates_per_class
    for label in plan.classes:
        gone = {row["position"] for row in found.get(class_unit(label.folder), [])}
        left = _usable(plan.run, class_unit(label.folder)) - gone if gone else None
        if left is not None and len(left) < needed:
            raise InputError(
                f"class {label.folder!r} would have {len(left)} usable candidates left, but {needed} are needed; "
                "nothing was changed; run rded distill with more --num-candidates, with --allow-fewer, or with a lower "
                "--ipc first"
            )


def _usable(run: RunFolder, unit: str) -> set[int]:
    """Returns the positions of a class's candidates that decode and were not lost since."""
    try:
        scored = {row["position"] for row in read_rows(run.table("realism", unit), SCORES)}
    except InputError:  # not scored yet
        scored = {row["position"] for row in read_rows(run.table("candidates", unit), CANDIDATES)}
    selected, _ = find_record(run.record("selection", unit))
    return scored - set(selected.facts["lost"] if selected else ())


def read_lineage(run: RunFolder) -> list[Row]:
    """Reads the lineage of a run's dataset, with the class's folder in each row; nothing where there is none."""
    folder = DatasetFolder(run.dataset)
    try:
        labels = DistilledDataset(folder).classes
        rows = [row for table in folder.lineage_tables() for row in read_rows(table, LINEAGE)]
    except InputError:
        return []
    return [{**row, "folder": labels[row["class_index"]].folder} for row in rows]


def _label_records(run: RunFolder) -> dict[str, Record]:
    found = {unit: find_record(run.record("soft_labels", unit))[0] for unit in units_of(run, ["soft_labels"])}
    found = {unit: record for unit, record in found.items() if unit.startswith("epochs-")}
    return {unit: record for unit, record in found.items() if record}


@stage_task("sum-up-forgetting", "sum up what was forgotten")
def sum_up_forgetting(forgetting: Forgetting) -> dict[str, Any]:
    """Removes what distilling left behind, and returns what was forgotten and what took its place."""
    run = forgetting.plan.run
    clear_traces(run)
    before, now = forgetting.before, read_lineage(run)
    folders = {row["folder"] for row in before if row["source_sha256"] in forgetting.asked}
    shown = {_patch(row) for row in before}
    labels = _label_records(run)
    end_forgetting(run, forgetting.asked)
    made = [record.facts for unit, record in labels.items() if record != forgetting.labels.get(unit)]
    return {
        "dataset": str(run.dataset),
        "images": [_describe(forgetting, digest) for digest in sorted(forgetting.asked)],
        "uses": [row for row in before if row["source_sha256"] in forgetting.asked],
        "refilled": [row for row in now if row["folder"] in folders and _patch(row) not in shown],
        "num_changed": len(_contents(now) - _contents(before)),
        "num_images": len(_contents(now)),
        "num_labels": sum(record.facts["views"] for record in labels.values()),
        "num_labels_made": sum(facts["views"] - facts.get("reused_views", 0) for facts in made),
        "controls": forgetting.controls,
    }


def _describe(forgetting: Forgetting, digest: str) -> dict[str, Any]:
    classes = [folder for folder, known in forgetting.forgotten.by_class.items() if digest in known]
    return {"sha256": digest, "uris": sorted(forgetting.asked[digest]), "classes": classes}


def _patch(row: Row) -> tuple[Any, ...]:
    """Returns what makes a patch: its class, its image and its box."""
    return tuple(row[name] for name in ("folder", "source_sha256", "box_top", "box_left", "box_height", "box_width"))


def _contents(rows: list[Row]) -> set[tuple[Any, ...]]:
    """Returns every image's key with its patches."""
    images: defaultdict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for row in rows:
        images[row["key"]].append(_patch(row))
    return {(key, *patches) for key, patches in images.items()}
