"""The distilled dataset as students read it: images, classes, recipe and recorded batches; no teacher, no Prefect."""

import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from rded_core.errors import InputError
from rded_core.io.images import RejectedImage, decode_image
from rded_core.io.paths import DatasetFolder, block_name, epoch_blocks, image_key
from rded_core.io.shards import read_shard
from rded_core.io.soft_label_tables import EPOCHS_PER_FILE, LabelledBatch, read_epoch
from rded_core.io.sources import SourceClass

REMEDY = "distil again, or fetch it again"


@dataclass(frozen=True, slots=True)
class StoredImages:
    """The distilled images as stored: decoded back from their files.

    Attributes:
        keys: in the dataset's order (by class, then number).
        images: uint8 RGB.
        class_indices: the class of each.
    """

    keys: list[str]
    images: UInt8[Tensor, "n 3 s s"]
    class_indices: Int[Tensor, "n"]


def read_images(tars: list[Path], *, max_class: int | None = None) -> StoredImages:
    """Decodes every image of the shards, in shard order, or those of the first `max_class` classes.

    Raises:
        InputError: a shard or an image is damaged, or the images differ in size.
    """
    entries = ((tar, key, *_class_and_image(tar, key, files)) for tar, key, files in read_samples(tars))
    return stack_images(entry for entry in entries if max_class is None or entry[2] < max_class)


def _class_and_image(tar: Path, key: str, files: dict[str, bytes]) -> tuple[int, bytes]:
    """Returns a sample's class index and its encoded image."""
    try:
        return int(files["cls"]), next(data for name, data in files.items() if name not in ("cls", "json"))
    except (KeyError, ValueError, StopIteration) as error:
        raise InputError(f"{tar} is damaged ({key} lacks its image or class); {REMEDY}") from error


def stack_images(entries: Iterable[tuple[Path, str, int, bytes]]) -> StoredImages:
    """Decodes images given with the file they come from, their key and their class."""
    keys: list[str] = []
    images: list[Tensor] = []
    classes: list[int] = []
    for tar, key, index, data in entries:
        try:
            images.append(decode_image(data))
        except RejectedImage as error:
            raise InputError(f"{tar} is damaged ({key}: {error}); {REMEDY}") from error
        if images[-1].shape != images[0].shape:
            raise InputError(f"{tar} is damaged ({key} is of another size than the others); {REMEDY}")
        keys.append(key)
        classes.append(index)
    if not images:
        raise InputError(f"the dataset holds no images; {REMEDY}")
    return StoredImages(keys, torch.stack(images).contiguous(), torch.tensor(classes))


def read_samples(tars: Iterable[Path]) -> Iterator[tuple[Path, str, dict[str, bytes]]]:
    """Yields tar, key and files of every sample; raises InputError where a tar is missing or damaged."""
    for tar in tars:
        try:
            for key, files in read_shard(tar):
                yield tar, key, files
        except (OSError, tarfile.TarError) as error:
            raise InputError(f"{tar} is damaged ({error}); {REMEDY}") from error


def read_class_images(tars: Mapping[int, Path]) -> StoredImages:
    """Decodes every image of the tars of single classes that a run keeps, by class index.

    Raises:
        InputError: as `read_images`.
    """
    return stack_images(
        (tar, image_key(index, number), index, next(iter(files.values())))
        for index, tar in tars.items()
        for number, (_, _, files) in enumerate(read_samples([tar]))
    )


class DistilledDataset:
    """A distilled dataset, opened: small files read at once, images at the first need, labels epoch by epoch.

    Attributes:
        folder: where it lies.
        recipe: how students are to be trained, from recipe.json.
        classes: in index order, from classes.json.

    Raises:
        InputError: a file is missing or damaged.
    """

    def __init__(self, folder: DatasetFolder) -> None:
        self.folder = folder
        self.recipe = _read_recipe(folder.recipe)
        self.classes = _read_classes(folder.classes)
        self._images: StoredImages | None = None

    @property
    def images(self) -> StoredImages:
        """The stored images, decoded once and kept."""
        if self._images is None:
            self._images = read_images(self.folder.image_tars())
        return self._images

    @property
    def num_epochs(self) -> int:
        """Counts the epochs of recorded labels."""
        return int(self.recipe["label_epochs"])

    def __len__(self) -> int:
        return int(self.recipe["num_images"])

    def recorded_batches(self, epoch: int) -> Iterator[LabelledBatch]:
        """Yields one epoch as recorded: image rows, views, float16 teacher logits, batch by batch.

        Raises:
            InputError: that epoch was not recorded, or its table is missing or damaged.
        """
        if not 0 <= epoch < self.num_epochs:
            raise InputError(
                f"epoch {epoch} of {self.folder.root} was not recorded ({self.num_epochs} are); distil with more "
                "--label-epochs, or train fewer epochs"
            )
        rows_by_key = {key: row for row, key in enumerate(self.images.keys)}
        block = epoch_blocks(self.num_epochs, EPOCHS_PER_FILE)[epoch // EPOCHS_PER_FILE]
        yield from read_epoch(self.folder.soft_labels(block_name(block)), epoch % EPOCHS_PER_FILE, rows_by_key)


def _read_recipe(path: Path) -> dict[str, Any]:
    recipe = _read_json(path)
    counts = [recipe.get(name) for name in ("num_images", "label_epochs")] if isinstance(recipe, dict) else [None]
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        raise InputError(f"{path} names no num_images or label_epochs; distil again, or fetch it again")
    return recipe


def _read_classes(path: Path) -> tuple[SourceClass, ...]:
    try:
        entries = [
            SourceClass(entry["index"], entry["name"], entry["wnid"], entry["folder"]) for entry in _read_json(path)
        ]
    except (TypeError, KeyError) as error:
        raise InputError(f"{path} is no list of classes ({error}); distil again, or fetch it again") from error
    texts: list[Any] = [text for label in entries for text in (label.name, label.folder)]
    if not all(isinstance(text, str) for text in texts):
        raise InputError(f"{path} has a class without a name; distil again, or fetch it again")
    if [label.index for label in entries] != list(range(len(entries))):
        raise InputError(f"{path} does not number its classes 0, 1, 2, ...; distil again, or fetch it again")
    return tuple(entries)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({error}); distil again, or fetch it again") from error
