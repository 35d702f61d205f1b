"""Class shards, and the file names of classes, images and label blocks."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil


@dataclass(frozen=True, slots=True)
class ClassShard:
    """A group of classes, ``start`` <= index < ``stop``, that one task run processes, each class on its own."""

    start: int
    stop: int

    @property
    def name(self) -> str:
        """Name of the group, from its first and last class: ``0010-0019``."""
        return f"{self.start:04d}-{self.stop - 1:04d}"

    @property
    def indices(self) -> range:
        """Indices of the classes."""
        return range(self.start, self.stop)


MIN_CLASSES_PER_SHARD = 10
MAX_SHARDS = 32
"""Default limit, since a task run costs Prefect some 0.1 s regardless of what it does."""

MAX_UNIT_CHARS = 80


def class_shards(num_classes: int, classes_per_shard: int | None = None) -> list[ClassShard]:
    """Splits the classes into consecutive shards; the last may be smaller.

    By default a shard holds 10 classes, or more if that would make more than 32 shards.
    """
    size = classes_per_shard or max(MIN_CLASSES_PER_SHARD, ceil(num_classes / MAX_SHARDS))
    return [ClassShard(start, min(start + size, num_classes)) for start in range(0, num_classes, size)]


def class_unit(folder: str) -> str:
    """Returns the name of a class's files in ``work/``: readable, and different for every class.

    The index is not part of it, so that a class keeps its files if classes are added before it. A digest separates
    names that differ by case or by characters that file systems reject (ImageNet has ``Cardigan``, ``cardigan``).
    """
    readable = re.sub(r"[^A-Za-z0-9._-]", "_", folder)[:MAX_UNIT_CHARS].lstrip(".")
    return f"{readable}-{hashlib.sha256(folder.encode()).hexdigest()[:8]}"


def image_key(class_index: int, number: int) -> str:
    """Returns the key of a distilled image: its class, and its place among the class's images, best first."""
    return f"c{class_index:05d}_i{number:05d}"


def epoch_blocks(num_epochs: int, epochs_per_file: int) -> Sequence[range]:
    """Splits the recorded epochs into blocks that share a file."""
    return [range(start, min(start + epochs_per_file, num_epochs)) for start in range(0, num_epochs, epochs_per_file)]


def block_name(block: range) -> str:
    """Returns the name of a block of epochs, from its first and last epoch."""
    return f"epochs-{block.start:06d}-{block.stop - 1:06d}"


def block_of(name: str) -> range:
    """Returns the block of epochs that `block_name` gives this name; an empty range for any other name."""
    match = re.fullmatch(r"epochs-(\d{6,})-(\d{6,})", name)
    return range(int(match[1]), int(match[2]) + 1) if match else range(0)
