"""Labels of a local dataset, checked against SHA256SUMS as they are read; pixels are not decoded."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from shlex import quote
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from rded_core.errors import InputError, first_line
from rded_core.io.dataset.distilled import DistilledDataset
from rded_core.io.dataset.images import read_samples
from rded_core.io.formats.sealed import DamagedRecord
from rded_core.io.formats.soft_labels import (
    EPOCHS_PER_FILE,
    EpochLabels,
    LabelledBatch,
    LabelReader,
    find_table,
    split_batches,
)
from rded_core.io.formats.sums import read_sums
from rded_core.io.formats.tables import table_metadata
from rded_core.io.layout.dataset import REMEDY
from rded_core.io.layout.run import find_dataset
from rded_core.io.verify.findings import Findings
from rded_core.labels.codecs import FeatureCodec


class StoredLabels:
    """Labels of a dataset, as stored.

    Args:
        where: a run folder, or the dataset itself.

    Attributes:
        folder: the dataset folder.
        recipe: contents of recipe.json.
        classes: classes in index order.
        codec: codec that the labels are stored in.
        num_epochs: number of epochs stored.
        training_epochs: number of epochs that the recipe trains for.

    Raises:
        InputError: there is no dataset, or one of its files is missing or damaged.
    """

    def __init__(self, where: str) -> None:
        self.folder, _ = find_dataset(where)
        self._whole: set[Path] = set()
        small = [self.folder.recipe, self.folder.classes]
        self.require_whole([*small, *([self.folder.teacher_head] if self.folder.teacher_head.is_file() else [])])
        opened = DistilledDataset(self.folder)
        self.recipe, self.classes, self.codec = opened.recipe, opened.classes, opened.codec
        self.num_epochs, self.training_epochs = opened.num_epochs, opened.training_epochs

    def require_whole(self, paths: Iterable[Path]) -> None:
        """Raises InputError if a file does not match SHA256SUMS; each file is read once."""
        findings = Findings(self.folder.root, remedy="")
        for path in (path for path in paths if path not in self._whole):
            name = path.relative_to(self.folder.root).as_posix()
            findings.check_digest(path, self._sums.get(name, ""), self.folder.sums.name)
        for fault in findings.faults:
            self.require_unchanged()
            raise InputError(
                f"{fault.path} is {fault.kind}: {fault.what}; see rded verify {quote(str(self.folder.root))}"
            )
        self._whole |= findings.whole

    def require_unchanged(self) -> None:
        """Raises InputError if another dataset has replaced this one since it was opened."""
        before = self._sums
        try:
            is_same = read_sums(self.folder) == before
        except (OSError, DamagedRecord):
            is_same = False
        if not is_same:
            raise InputError(f"{self.folder.root} was replaced by another dataset meanwhile; run the command again")

    @cached_property
    def _sums(self) -> dict[str, str]:
        try:
            return read_sums(self.folder)
        except (OSError, DamagedRecord) as error:
            raise InputError(
                f"{self.folder.sums} is damaged; see rded verify {quote(str(self.folder.root))}"
            ) from error

    @property
    def temperature(self) -> float:
        """Temperature of the students' loss; raises InputError if the recipe has none."""
        if "temperature" not in self.recipe:
            raise InputError(f"{self.folder.recipe} has no temperature; {REMEDY}")
        return float(self.recipe["temperature"])

    @property
    def head(self) -> tuple[Tensor, Tensor] | None:
        """Weight and bias of the teacher's last layer if labels are stored as features, else None."""
        return (self.codec.weight, self.codec.bias) if isinstance(self.codec, FeatureCodec) else None

    @cached_property
    def _index(self) -> tuple[list[str], Tensor]:
        tars = self.folder.image_tars()
        self.require_whole(tars)
        try:
            entries = [(key, int(files["cls"])) for _, key, files in read_samples(tars)]
        except (KeyError, ValueError) as error:
            raise InputError(f"an image of {self.folder.root} has no class; {REMEDY}") from error
        return [key for key, _ in entries], torch.tensor([index for _, index in entries])

    @property
    def keys(self) -> list[str]:
        """Keys of the images, in the dataset's order."""
        return self._index[0]

    @property
    def class_indices(self) -> Tensor:
        """Class indices of the images, in the dataset's order."""
        return self._index[1]

    def table(self, epoch: int) -> Path:
        """Returns the file that holds an epoch."""
        return find_table(self.folder, epoch, num_epochs=self.num_epochs)

    def tables(self) -> list[Path]:
        """Returns the files that hold all epochs."""
        return [self.table(epoch) for epoch in range(0, self.num_epochs, EPOCHS_PER_FILE)]

    def read_epoch(self, epoch: int) -> EpochLabels:
        """Returns one epoch, its labels still encoded; raises InputError if its table is missing or damaged."""
        self.require_whole([self.table(epoch)])
        try:
            return self._reader.read_epoch(self.table(epoch), epoch % EPOCHS_PER_FILE)
        except InputError:
            self.require_unchanged()
            raise

    def batches(self, epochs: Iterable[int]) -> Iterable[tuple[int, LabelledBatch]]:
        """Yields (epoch, recorded batch) for each batch of the epochs."""
        for epoch in epochs:
            for batch in split_batches(self.read_epoch(epoch)):
                yield epoch, batch

    def metadata(self) -> dict[str, Any]:
        """Returns the metadata that the label tables carry."""
        self.require_whole([self.table(0)])
        try:
            with pq.ParquetFile(self.table(0).absolute()) as opened:
                return table_metadata(opened)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{self.table(0)} cannot be read: {first_line(error)}") from error

    @cached_property
    def _reader(self) -> LabelReader:
        return LabelReader(self.keys, self.codec)
