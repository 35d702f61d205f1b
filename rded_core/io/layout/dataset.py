"""Where everything lies in a dataset folder."""

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


REMEDY = "repair its run (rded repair), or fetch it again"


def relative_to_dataset(folder: DatasetFolder, path: Path) -> str:
    """Returns a file's POSIX path from the dataset folder, as SHA256SUMS and croissant.json name it."""
    return path.relative_to(folder.root).as_posix()
