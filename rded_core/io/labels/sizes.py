"""Sizes of label tables in a codec, measured by writing a sample."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from rded_core.io.formats.soft_labels import EPOCHS_PER_FILE, LabelledBatch, write_soft_labels
from rded_core.io.formats.teacher_head import write_head
from rded_core.labels.codecs import Codec, Encoded, FeatureCodec

METADATA_BYTES = 1000
"""Bytes of a table's metadata (teacher, views, digests), which is stored twice; sample tables have none."""


@dataclass(frozen=True, slots=True)
class LabelSizes:
    """Bytes of labels in a codec: once, per file, and per epoch."""

    fixed: int
    file: float
    epoch: float


def measure_bytes(
    sample: Sequence[LabelledBatch], encoded: Encoded, *, codec: Codec, keys: list[str], class_indices: Tensor
) -> LabelSizes:
    """Returns the bytes of labels in a codec, from the sizes of a file of one epoch and of a full one.

    Args:
        sample: recorded batches of whole epochs, one epoch after another.
        encoded: labels of all batches in that codec.
        codec: the codec.
        keys: keys of the dataset's images.
        class_indices: class indices of the dataset's images.
    """
    epochs = list(_epochs(sample, encoded, len(keys)))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "labels.parquet"

        def size_of(count: int) -> int:
            entries = ((number, batch) for number in range(count) for batch in epochs[number % len(epochs)])
            write_soft_labels(path, entries, keys=keys, class_indices=class_indices, codec=codec, metadata={})
            return path.stat().st_size

        one, full = size_of(1), size_of(EPOCHS_PER_FILE)
        epoch = (full - one) / (EPOCHS_PER_FILE - 1)
        return LabelSizes(_head_bytes(Path(folder) / "head.parquet", codec), one - epoch + METADATA_BYTES, epoch)


def _head_bytes(path: Path, codec: Codec) -> int:
    """Returns the bytes of the teacher's last layer if the codec needs it, else 0."""
    if not isinstance(codec, FeatureCodec):
        return 0
    write_head(path, codec.weight, codec.bias)
    return path.stat().st_size


def _epochs(sample: Sequence[LabelledBatch], encoded: Encoded, num_images: int) -> Iterator[list[LabelledBatch]]:
    """Yields the sample's epochs, each batch with its labels in the codec."""
    start, epoch = 0, list[LabelledBatch]()
    for rows, views, _ in sample:
        part = {name: column[start : start + len(rows)] for name, column in encoded.items()}
        epoch.append((rows, views, part))
        start += len(rows)
        if start % num_images == 0:
            yield epoch
            epoch = []
