"""Whose each file of a run folder is: records and what lies beside them, files that are kept twice, leftovers."""

import re
from pathlib import Path

from rded_core.io.files import is_temporary
from rded_core.io.paths import RunFolder

CLASS_STAGES = ("index", "candidates", "realism", "selection", "squeeze")
"""Stages with one record a class."""

CLASS_UNIT = re.compile(r"-[0-9a-f]{8}$")
"""How the names end that `paths.class_unit` gives; others in a class stage's folder are a user's."""

STAGES = (*CLASS_STAGES, "observe", "soft_labels", "publish", "students")
"""All stages that keep records."""

OUTPUT_ENDINGS = (".result.json", ".parquet", ".tar")
"""How the files end that lie beside a record and are named as it is."""


def twins(run: RunFolder) -> list[tuple[Path, Path]]:
    """Lists the sealed files that are kept twice (the file, its copy), where at least one of the two is there."""
    folders = (run.evaluation("any").parent, run.evaluation_copy("any").parent)
    names = {path.stem for folder in folders for path in folder.glob("[!.]*.json")}
    pairs = [(run.run_json, run.run_json_copy), (run.forgotten, run.forgotten_copy)]
    pairs += [(run.evaluation(name), run.evaluation_copy(name)) for name in sorted(names)]
    return [pair for pair in pairs if any(path.exists() for path in pair)]


def stage_records(run: RunFolder) -> list[Path]:
    """Lists the records of all stages that lie in this folder, readable or not."""
    found = (path for stage in STAGES for path in sorted((run.root / "work" / stage).glob("[!.]*.json")))
    return [path for path in found if record_beside(run, path) == path]


def label_notes(run: RunFolder) -> list[Path]:
    """Lists the notes of the images that label tables were made from."""
    return sorted(run.label_images("").parent.glob("images-*.json"))


def record_beside(run: RunFolder, path: Path) -> Path | None:
    """Returns the record that a file in a stage's folder is, or belongs to, by its name; None for any other file."""
    if path.parent.name not in STAGES or path.parent.parent != run.root / "work" or path.name.startswith("."):
        return None
    if path.parent.name == "soft_labels" and path.name.startswith("images-"):
        return None
    ending = next((ending for ending in (*OUTPUT_ENDINGS, ".json") if path.name.endswith(ending)), "")
    unit = path.name.removesuffix(ending)
    is_ours = path.parent.name not in CLASS_STAGES or CLASS_UNIT.search(unit)
    return path.with_name(f"{unit}.json") if ending and is_ours else None


def beside_record(path: Path) -> list[Path]:
    """Lists what lies beside a record and may be its outputs."""
    possible = (path.with_name(path.stem + ending) for ending in OUTPUT_ENDINGS)
    return [output for output in possible if output.is_file()]


def is_leftover(run: RunFolder, path: Path) -> bool:
    """Tells whether a file is what an interrupted run left behind: half written, or half put together."""
    staged = (run.staged_dataset, run.staged_dataset.with_name(f"{run.staged_dataset.name}.old"))
    return is_temporary(path) or any(path.is_relative_to(folder) for folder in staged)
