"""What the loader, its batch plan and the recorded views need of a distilled dataset."""

from pathlib import Path
from typing import Protocol

from rded_core.io.dataset.images import StoredImages
from rded_core.io.formats.soft_labels import EpochLabels
from rded_core.labels.codecs import Codec

Triple = tuple[float, float, float]
"""One number per colour channel."""


class LabelledImages(Protocol):
    """Distilled images with recorded views and their labels; `DistilledDataset` is the one in use."""

    @property
    def images(self) -> StoredImages:
        """The stored images, decoded once and kept."""
        ...

    @property
    def codec(self) -> Codec:
        """How the labels are stored."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of everything the dataset holds."""
        ...

    @property
    def mean_and_std(self) -> tuple[Triple, Triple]:
        """Mean and standard deviation that normalise views, per channel, for pixels 0..1."""
        ...

    @property
    def num_epochs(self) -> int:
        """Number of recorded label epochs."""
        ...

    def __len__(self) -> int:
        """Number of distilled images."""
        ...

    def read_epoch(self, epoch: int) -> EpochLabels:
        """Reads one recorded epoch, labels as stored."""
        ...

    def fetch_labels(self, epoch: int) -> Path:
        """Returns the local path of a recorded epoch's table, fetched if it lies at a URL."""
        ...

    def prepare_labels(self) -> None:
        """Reads everything that decoding labels needs, apart from their tables."""
        ...
