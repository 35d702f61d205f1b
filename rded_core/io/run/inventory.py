"""What each file of a run folder belongs to: records and their outputs, files kept in two copies, leftovers."""

import re
from pathlib import Path

from rded_core.io.layout.run import RunFolder
from rded_core.io.storage.atomic import is_temporary

CLASS_STAGES = ("index", "candidates", "realism", "selection", "squeeze")
"""Stages with one record per class."""

_CLASS_UNIT = r"(?!\.)[A-Za-z0-9._-]*-[0-9a-f]{8}"
"""Names that `units.class_unit` gives."""

_RESULTS = r"\w+-\w+-e\d+-[0-9a-f]{8}"
"""Names of students' results: network, protocol, epochs, and a digest of all that they depend on."""

_UNITS = {
    **dict.fromkeys(CLASS_STAGES, _CLASS_UNIT),
    "observe": "observer|teacher",
    "soft_labels": r"epochs-\d{6,}-\d{6,}|choice",
    "publish": "dataset",
    "students": rf"\w+-{_RESULTS}-s\d+",
}
"""Stages that keep records, and the names of their units; other names in their folders are a user's."""

_OUTPUTS = {
    "index": (".parquet",),
    "candidates": (".parquet", ".tar"),
    "realism": (".parquet",),
    "selection": (".parquet",),
    "squeeze": (".tar",),
    "soft_labels": (".parquet",),
    "students": (".result.json",),
}
"""Endings of the output files next to a stage's records, which have the same names."""

_EVALUATION = re.compile(rf"{_RESULTS}-\d+seeds(-\w+)*")
_LABEL_NOTE = re.compile(r"images-[0-9a-f]{16}\.json")


def twins(run: RunFolder) -> list[tuple[Path, Path]]:
    """Returns the sealed files that are kept twice (the file, its copy), if at least one of the two exists.

    Of evaluations, only files with the names that rded gives count: others there are a user's.
    """
    folders = (run.evaluation("any").parent, run.evaluation_copy("any").parent)
    stems = {path.stem for folder in folders for path in folder.glob("*.json")}
    names = {stem for stem in stems if _EVALUATION.fullmatch(stem)}
    pairs = [(run.run_json, run.run_json_copy), (run.forgotten, run.forgotten_copy)]
    pairs += [(run.evaluation(name), run.evaluation_copy(name)) for name in sorted(names)]
    return [pair for pair in pairs if any(path.exists() for path in pair)]


def stage_records(run: RunFolder) -> list[Path]:
    """Returns the records of all stages in this folder, readable or not."""
    paths = (path for stage in _UNITS for path in sorted((run.root / "work" / stage).glob("*.json")))
    return [path for path in paths if record_beside(run, path) == path]


def label_notes(run: RunFolder) -> list[Path]:
    """Returns the notes of the images that label tables were made from."""
    paths = run.label_images("").parent.glob("images-*.json")
    return sorted(path for path in paths if _LABEL_NOTE.fullmatch(path.name))


def unit_of(stage: str, name: str) -> str | None:
    """Returns the unit whose record or output a file in a stage's folder is, by its name; None for other files."""
    for ending in (*_OUTPUTS.get(stage, ()), ".json"):
        unit = name.removesuffix(ending)
        if unit != name and stage in _UNITS and re.fullmatch(_UNITS[stage], unit):
            return unit
    return None


def record_beside(run: RunFolder, path: Path) -> Path | None:
    """Returns the record that a file in a stage's folder is, or belongs to, by its name; None for other files."""
    if path.parent.parent != run.root / "work":
        return None
    unit = unit_of(path.parent.name, path.name)
    return path.with_name(f"{unit}.json") if unit else None


def beside_record(path: Path) -> list[Path]:
    """Returns the existing files next to a record that may be its outputs."""
    possible = (path.with_name(path.stem + ending) for ending in _OUTPUTS.get(path.parent.name, ()))
    return [output for output in possible if output.is_file()]


def is_leftover(run: RunFolder, path: Path) -> bool:
    """Returns True if an interrupted run left a file behind: half written, or in a half-assembled dataset."""
    staged = (run.staged_dataset, run.replaced_dataset)
    return is_temporary(path) or any(path.is_relative_to(folder) for folder in staged)
