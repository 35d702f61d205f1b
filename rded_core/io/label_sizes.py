"""How many bytes labels take in a codec, found by writing some."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from rded_core.io.soft_label_tables import EPOCHS_PER_FILE, LabelledBatch, write_soft_labels
from rded_core.io.teacher_heads import write_head
from rded_core.soft_labels import Codec, Encoded, FeatureCodec


def measure_epoch_bytes(
    sample: Sequence[LabelledBatch], encoded: Encoded, *, codec: Codec, keys: list[str], class_indices: Tensor
) -> tuple[int, float]:
    """Returns the bytes that a codec takes once, and for each epoch in a file of as many epochs as files have.

    Args:
        sample: recorded batches of whole epochs, one epoch after another.
        encoded: the labels of all of them in that codec.
        codec: the codec.
        keys: of the dataset's images.
        class_indices: of the dataset's images.
    """
    epochs = list(_epochs(sample, encoded, len(keys)))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "labels.parquet"
        entries = ((number, batch) for number in range(EPOCHS_PER_FILE) for batch in epochs[number % len(epochs)])
        write_soft_labels(path, entries, keys=keys, class_indices=class_indices, codec=codec, metadata={})
        per_epoch = path.stat().st_size / EPOCHS_PER_FILE
        if not isinstance(codec, FeatureCodec):
            return 0, per_epoch
        write_head(Path(folder) / "head.parquet", codec.weight, codec.bias)
        return (Path(folder) / "head.parquet").stat().st_size, per_epoch


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
