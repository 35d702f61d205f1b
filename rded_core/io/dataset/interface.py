"""The part of a distilled dataset that the loader, its batch plan and the recorded views use."""

from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path

from rded_core.io.dataset.images import StoredImages
from rded_core.io.formats.soft_labels import EpochLabels
from rded_core.labels.codecs import Codec

Triple = tuple[float, float, float]
"""One number per colour channel."""


class LabelledImages(ABC):
    """Distilled images with recorded views and their labels; implemented by `DistilledDataset`.

    A base class, not a Protocol: before Python 3.12 a runtime check of a Protocol reads every property, and so would
    decode all images.
    """

    @cached_property
    @abstractmethod
    def images(self) -> StoredImages:
        """The stored images, decoded once and kept."""

    @cached_property
    @abstractmethod
    def codec(self) -> Codec:
        """Codec in which the labels are stored."""

    @cached_property
    @abstractmethod
    def digest(self) -> str:
        """SHA-256 of everything the dataset holds."""

    @property
    @abstractmethod
    def mean_and_std(self) -> tuple[Triple, Triple]:
        """Mean and standard deviation that normalise views, per channel, for pixels 0..1."""

    @property
    @abstractmethod
    def num_epochs(self) -> int:
        """Number of recorded label epochs."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of distilled images."""

    @abstractmethod
    def read_epoch(self, epoch: int) -> EpochLabels:
        """Returns one recorded epoch, with the labels as stored."""

    @abstractmethod
    def fetch_labels(self, epoch: int) -> Path:
        """Returns the local path of a recorded epoch's table, fetched if it lies at a URL."""

    @abstractmethod
    def prepare_labels(self) -> None:
        """Reads everything that decoding labels needs, apart from their tables."""
