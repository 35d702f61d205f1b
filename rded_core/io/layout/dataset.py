"""Layout of a dataset folder."""

import re
from dataclasses import dataclass
from pathlib import Path


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
        """Path of the teacher's last layer, which exists if labels are stored as features."""
        return self.root / "teacher_head.parquet"

    def image_tars(self) -> list[Path]:
        return sorted((self.root / "images").glob("*.tar"))

    def soft_label_tables(self) -> list[Path]:
        return sorted((self.root / "soft_labels").glob("*.parquet"))

    def label_files(self) -> list[Path]:
        """Returns all files that hold labels: the tables, and the teacher's last layer if they need it."""
        return [*self.soft_label_tables(), *([self.teacher_head] if self.teacher_head.is_file() else [])]

    def label_bytes(self) -> int:
        """Returns the size in bytes of the labels, and of the last layer if they need it."""
        return sum(path.stat().st_size for path in self.label_files())

    def lineage_tables(self) -> list[Path]:
        return sorted((self.root / "lineage").glob("*.parquet"))

    def files(self) -> list[Path]:
        """Returns every file except SHA256SUMS, sorted by its path below the folder."""
        paths = (path for path in self.root.rglob("*") if path.is_file() and path != self.sums)
        return sorted(paths, key=lambda path: path.relative_to(self.root).as_posix())

    def may_hold(self, path: Path) -> bool:
        """Returns True if a file's path is one that the dataset's writers give."""
        return DATASET_FILES.fullmatch(path.relative_to(self.root).as_posix()) is not None


DATASET_FILES = re.compile(
    r"classes\.json|recipe\.json|teacher_head\.parquet|README\.md|croissant\.json|SHA256SUMS|report/(index\.html|mosaics\.jpg)"
    r"|images/train-\d{6,}\.tar|lineage/train-\d{6,}\.parquet|soft_labels/epochs-\d{6,}-\d{6,}\.parquet"
)
"""Pattern of every file that a dataset may hold, by its path below the folder."""


REMEDY = "repair its run (rded repair), or fetch it again"


def relative_to_dataset(folder: DatasetFolder, path: Path) -> str:
    """Returns a file's POSIX path below the dataset folder, as in SHA256SUMS and croissant.json."""
    return path.relative_to(folder.root).as_posix()
