"""Layout of a run folder; no other module knows the paths in OUT."""

from dataclasses import dataclass, field
from pathlib import Path

from rded_core.errors import InputError
from rded_core.io.layout.dataset import DatasetFolder

LOCK_NAME = ".lock"


def stage_and_unit(path: str) -> tuple[str, str]:
    """Returns stage and unit of a file by its POSIX path below the run folder; empty if it belongs to no stage."""
    work, _, inner = path.partition("/")
    stage, _, name = inner.partition("/")
    return (stage, name.rpartition(".")[0]) if work == "work" and name and "/" not in name else ("", "")


DRAW = "candidates"
"""Folder of the candidates, the only stage whose files `rded_core.io` itself reads."""

STAGES = ("index", DRAW, "observe", "realism", "selection", "squeeze", "soft_labels", "publish")
"""Stages of a run, by the names of their folders in ``work/``."""

SHARED_STAGES = ("index", DRAW, "observe")
"""Stages that a control shares with the run it is a control of: both draw the same candidates."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths inside one OUT.

    Attributes:
        root: OUT itself.
        owner: the run that this one is a control of, if it is one.
    """

    root: Path
    owner: "RunFolder | None" = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "owner", _owner_of(self.root))

    @property
    def run_json(self) -> Path:
        return self.root / "run.json"

    @property
    def run_json_copy(self) -> Path:
        """Path of a second run.json, since nothing else records what the run was asked to do."""
        return self.root / "work" / "run.json"

    @property
    def forgotten(self) -> Path:
        """Path of the list of images that must never be used again."""
        return self.root / "forgotten.json"

    @property
    def forgotten_copy(self) -> Path:
        return self.root / "work" / "forgotten.json"

    @property
    def forgetting(self) -> Path:
        """Path of the note of what an unfinished ``rded forget`` is removing."""
        return self.root / "work" / "forgetting.json"

    @property
    def lock(self) -> Path:
        return self.root / LOCK_NAME

    @property
    def dataset(self) -> Path:
        return self.root / "dataset"

    @property
    def staged_dataset(self) -> Path:
        """Folder in which the dataset is assembled before it replaces the old one."""
        return self.root / "work" / "dataset"

    @property
    def replaced_dataset(self) -> Path:
        """Folder of the old dataset while it is being removed."""
        return self.staged_dataset.with_name(f"{self.staged_dataset.name}.old")

    def marks(self) -> tuple[Path, Path]:
        """Returns the files of which a run folder has at least one."""
        return self.run_json, self.run_json_copy

    def record(self, stage: str, unit: str) -> Path:
        return self.stage(stage) / f"{unit}.json"

    def table(self, stage: str, unit: str) -> Path:
        return self.stage(stage) / f"{unit}.parquet"

    def tar(self, stage: str, unit: str) -> Path:
        return self.stage(stage) / f"{unit}.tar"

    def written_folders(self) -> list[Path]:
        """Returns the existing folders that files of this run are written to."""
        work = self.root / "work"
        apart = ("controls", self.staged_dataset.name)
        return [path for path in (self.root, work, *work.glob("*")) if path.is_dir() and path.name not in apart]

    def stage(self, stage: str) -> Path:
        """Returns the folder of a stage's outputs and records."""
        owner = self.owner if stage in SHARED_STAGES else None
        return (owner or self).root / "work" / stage

    def label_images(self, digest: str) -> Path:
        """Returns the path of the list of images that label tables were made from."""
        return self.stage("soft_labels") / f"images-{digest[:16]}.json"

    def control(self, name: str) -> Path:
        """Returns the run folder of a control set, which the same flow makes."""
        return self.root / "work" / "controls" / name

    def controls(self) -> "list[RunFolder]":
        """Returns the run folders of the control sets that exist, sorted by name."""
        return [RunFolder(path) for path in sorted(self.control("any").parent.glob("*")) if path.is_dir()]

    def student(self, unit: str) -> Path:
        return self.root / "work" / "students" / f"{unit}.result.json"

    def evaluation(self, name: str) -> Path:
        return self.root / "evaluations" / f"{name}.json"

    def evaluation_copy(self, name: str) -> Path:
        return self.root / "work" / "evaluations" / f"{name}.json"


def _owner_of(root: Path) -> RunFolder | None:
    """Returns the run whose ``work/controls`` a run folder lies in."""
    if root.parent.parts[-2:] != ("work", "controls"):
        return None
    owner = RunFolder(root.parents[2])
    return owner if any(mark.is_file() for mark in owner.marks()) else None


def evaluation_folder(dataset: DatasetFolder) -> RunFolder:
    """Returns the folder for results of a dataset without a run folder: next to the dataset."""
    root = dataset.root.resolve()
    return RunFolder(root.with_name(f"{root.name}-evaluation"))


def find_dataset(path: str) -> tuple[DatasetFolder, RunFolder | None]:
    """Returns the dataset at `path` (a run folder, or the dataset itself) and its run folder, or None if it has none.

    Raises:
        InputError: `path` has no finished dataset.
    """
    root = Path(path)
    for candidate, run_root in ((root / "dataset", root), (root, root.resolve().parent)):
        folder = DatasetFolder(candidate)
        if folder.sums.is_file() and folder.recipe.is_file():
            run = RunFolder(run_root)
            return folder, run if run.run_json.is_file() or run.run_json_copy.is_file() else None
    unfinished = (
        " (its run has not finished; rerun rded distill to resume it)" if RunFolder(root).run_json.is_file() else ""
    )
    raise InputError(f"no distilled dataset at {path}{unfinished}; pass the --out folder of rded distill")
