"""The run folder: the only place that knows where anything lies in OUT."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from rded_core.errors import InputError


@dataclass(frozen=True, slots=True)
class ClassShard:
    """A group of classes, ``start`` <= index < ``stop``, that one task run takes care of, each class on its own."""

    start: int
    stop: int

    @property
    def name(self) -> str:
        """Names the group by its first and last class, as people see it: ``0010-0019``."""
        return f"{self.start:04d}-{self.stop - 1:04d}"

    @property
    def indices(self) -> range:
        """The classes."""
        return range(self.start, self.stop)


MIN_CLASSES_PER_SHARD = 10
MAX_SHARDS = 32
"""Unless told otherwise: a task run costs Prefect some 0.1 s whatever it does."""

MAX_UNIT_CHARS = 80
LOCK_NAME = ".lock"


def class_shards(num_classes: int, classes_per_shard: int | None = None) -> list[ClassShard]:
    """Cuts the classes into consecutive shards; the last may be smaller.

    By default a shard holds 10 classes, or more where that would make more than 32 shards.
    """
    size = classes_per_shard or max(MIN_CLASSES_PER_SHARD, ceil(num_classes / MAX_SHARDS))
    return [ClassShard(start, min(start + size, num_classes)) for start in range(0, num_classes, size)]


def class_unit(folder: str) -> str:
    """Names a class's files in ``work/``: readable, and never those of another class.

    The index is no part of it, so that a class keeps its files whatever classes come before it. A digest keeps apart
    names that differ by case or by characters that file systems do not take (ImageNet has ``Cardigan``, ``cardigan``).
    """
    readable = re.sub(r"[^A-Za-z0-9._-]", "_", folder)[:MAX_UNIT_CHARS].lstrip(".")
    return f"{readable}-{hashlib.sha256(folder.encode()).hexdigest()[:8]}"


def stage_and_unit(path: str) -> tuple[str, str]:
    """Returns the stage and unit of a file of a run, by its POSIX path from there; empty for files of no stage."""
    work, _, inner = path.partition("/")
    stage, _, name = inner.partition("/")
    return (stage, name.rpartition(".")[0]) if work == "work" and name and "/" not in name else ("", "")


def image_key(class_index: int, number: int) -> str:
    """Names a distilled image: its class, and its place among the class's images, best first."""
    return f"c{class_index:05d}_i{number:05d}"


STAGES = ("index", "candidates", "observe", "realism", "selection", "squeeze", "soft_labels", "publish")
"""Stages of a run, by the names of their folders in ``work/``."""

SHARED_STAGES = ("index", "candidates", "observe")
"""Stages that a control takes over from the run it is a control of: both draw the same candidates."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths inside one OUT."""

    root: Path

    @property
    def run_json(self) -> Path:
        return self.root / "run.json"

    @property
    def run_json_copy(self) -> Path:
        """A second run.json, since nothing else could tell what the run was asked to do."""
        return self.root / "work" / "run.json"

    @property
    def forgotten(self) -> Path:
        """Images that must never be used again."""
        return self.root / "forgotten.json"

    @property
    def forgotten_copy(self) -> Path:
        return self.root / "work" / "forgotten.json"

    @property
    def forgetting(self) -> Path:
        """What a forgetting that has not ended is about."""
        return self.root / "work" / "forgetting.json"

    @property
    def lock(self) -> Path:
        return self.root / LOCK_NAME

    @property
    def dataset(self) -> Path:
        return self.root / "dataset"

    @property
    def staged_dataset(self) -> Path:
        """Where the dataset is put together before it takes the old one's place."""
        return self.root / "work" / "dataset"

    @property
    def replaced_dataset(self) -> Path:
        """Where the old dataset lies while it is being removed."""
        return self.staged_dataset.with_name(f"{self.staged_dataset.name}.old")

    def marks(self) -> tuple[Path, Path]:
        """Returns the files of which one at least tells that a run is here."""
        return self.run_json, self.run_json_copy

    def record(self, stage: str, unit: str) -> Path:
        return self.stage(stage) / f"{unit}.json"

    def table(self, stage: str, unit: str) -> Path:
        return self.stage(stage) / f"{unit}.parquet"

    def tar(self, stage: str, unit: str) -> Path:
        return self.stage(stage) / f"{unit}.tar"

    @property
    def owner(self) -> "RunFolder | None":
        """The run that this one is a control of, if it is one."""
        if self.root.parent.parts[-2:] != ("work", "controls"):
            return None
        owner = RunFolder(self.root.parents[2])
        return owner if owner.run_json.is_file() or owner.run_json_copy.is_file() else None

    def written_folders(self) -> list[Path]:
        """Lists the folders that files of this run are written to."""
        work = self.root / "work"
        apart = ("controls", self.staged_dataset.name)
        return [path for path in (self.root, work, *work.glob("*")) if path.is_dir() and path.name not in apart]

    def stage(self, stage: str) -> Path:
        """Folder of a stage's outputs and records."""
        owner = self.owner if stage in SHARED_STAGES else None
        return (owner or self).root / "work" / stage

    def label_images(self, digest: str) -> Path:
        """The list of the images that label tables were made from."""
        return self.stage("soft_labels") / f"images-{digest[:16]}.json"

    def control(self, name: str) -> Path:
        """Run folder of a control set, made by the same flow."""
        return self.root / "work" / "controls" / name

    def controls(self) -> "list[RunFolder]":
        """Lists the run folders of control sets that are there."""
        return [RunFolder(path) for path in sorted(self.control("any").parent.glob("*")) if path.is_dir()]

    def student(self, unit: str) -> Path:
        return self.root / "work" / "students" / f"{unit}.result.json"

    def evaluation(self, name: str) -> Path:
        return self.root / "evaluations" / f"{name}.json"

    def evaluation_copy(self, name: str) -> Path:
        return self.root / "work" / "evaluations" / f"{name}.json"


@dataclass(frozen=True, slots=True)
class DatasetFolder:
    """Paths inside one distilled dataset."""

    root: Path

    @property
    def classes(self) -> Path:
        return self.root / "classes.json"

    @property
    def recipe(self) -> Path:
        return self.root / "recipe.json"

    @property
    def sums(self) -> Path:
        return self.root / "SHA256SUMS"

    @property
    def readme(self) -> Path:
        return self.root / "README.md"

    @property
    def croissant(self) -> Path:
        return self.root / "croissant.json"

    @property
    def report(self) -> Path:
        return self.root / "report" / "index.html"

    @property
    def mosaics(self) -> Path:
        return self.root / "report" / "mosaics.jpg"

    def images(self, index: int) -> Path:
        return self.root / "images" / f"train-{index:06d}.tar"

    def lineage(self, index: int) -> Path:
        return self.root / "lineage" / f"train-{index:06d}.parquet"

    def soft_labels(self, name: str) -> Path:
        return self.root / "soft_labels" / f"{name}.parquet"

    @property
    def teacher_head(self) -> Path:
        """The teacher's last layer, where labels are stored as its features."""
        return self.root / "teacher_head.parquet"

    def image_tars(self) -> list[Path]:
        return sorted((self.root / "images").glob("*.tar"))

    def soft_label_tables(self) -> list[Path]:
        return sorted((self.root / "soft_labels").glob("*.parquet"))

    def label_files(self) -> list[Path]:
        """Lists all files that hold labels: the tables, and the teacher's last layer where they need it."""
        return [*self.soft_label_tables(), *([self.teacher_head] if self.teacher_head.is_file() else [])]

    def label_bytes(self) -> int:
        """Counts the bytes of its labels, and of the last layer that they need."""
        return sum(path.stat().st_size for path in self.label_files())

    def lineage_tables(self) -> list[Path]:
        return sorted((self.root / "lineage").glob("*.parquet"))

    def files(self) -> list[Path]:
        """Lists every file but the sums, sorted by its path from here."""
        found = (path for path in self.root.rglob("*") if path.is_file() and path != self.sums)
        return sorted(found, key=lambda path: path.relative_to(self.root).as_posix())

    def may_hold(self, path: Path) -> bool:
        """Tells whether a file's name is one that the dataset's writers give."""
        return DATASET_FILES.fullmatch(path.relative_to(self.root).as_posix()) is not None


DATASET_FILES = re.compile(
    r"classes\.json|recipe\.json|teacher_head\.parquet|README\.md|croissant\.json|SHA256SUMS|report/(index\.html|mosaics\.jpg)"
    r"|images/train-\d{6,}\.tar|lineage/train-\d{6,}\.parquet|soft_labels/epochs-\d{6,}-\d{6,}\.parquet"
)
"""Every file that a dataset may hold, by its path from there."""


def evaluation_folder(dataset: DatasetFolder) -> RunFolder:
    """Returns where the results of a dataset without a run folder go: beside it."""
    root = dataset.root.resolve()
    return RunFolder(root.with_name(f"{root.name}-evaluation"))


def epoch_blocks(num_epochs: int, epochs_per_file: int) -> Sequence[range]:
    """Cuts the recorded epochs into the blocks that share a file."""
    return [range(start, min(start + epochs_per_file, num_epochs)) for start in range(0, num_epochs, epochs_per_file)]


def block_name(block: range) -> str:
    """Names a block of epochs by its first and last."""
    return f"epochs-{block.start:06d}-{block.stop - 1:06d}"


def block_of(name: str) -> range:
    """Returns the block that `block_name` named so; an empty one for any other name."""
    match = re.fullmatch(r"epochs-(\d{6,})-(\d{6,})", name)
    return range(int(match[1]), int(match[2]) + 1) if match else range(0)


def find_dataset(path: str) -> tuple[DatasetFolder, RunFolder | None]:
    """Finds the distilled dataset at `path` (a run folder, or the dataset itself) and its run folder, if it has one.

    Raises:
        InputError: no finished dataset there.
    """
    root = Path(path)
    for candidate, run_root in ((root / "dataset", root), (root, root.resolve().parent)):
        folder = DatasetFolder(candidate)
        if folder.sums.is_file() and folder.recipe.is_file():
            run = RunFolder(run_root)
            return folder, run if run.run_json.is_file() or run.run_json_copy.is_file() else None
    unfinished = (
        " (its run has not finished; run rded distill again to go on)" if RunFolder(root).run_json.is_file() else ""
    )
    raise InputError(f"no distilled dataset at {path}{unfinished}; give the --out folder of rded distill")
