"""A distilled dataset as users read and train with it: images, classes, recipe, labels; no teacher, no Prefect."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from rded_core.errors import InputError
from rded_core.io.dataset.files import open_files
from rded_core.io.dataset.images import StoredImages, read_images
from rded_core.io.dataset.interface import LabelledImages, Triple
from rded_core.io.dataset.loader import LabelLoader
from rded_core.io.device.devices import find_device
from rded_core.io.formats.sealed import DamagedRecord
from rded_core.io.formats.soft_labels import EPOCHS_PER_FILE, EpochLabels, LabelReader, find_table, split_batches
from rded_core.io.formats.sums import read_sums
from rded_core.io.formats.teacher_head import read_head
from rded_core.io.layout.dataset import REMEDY, DatasetFolder
from rded_core.io.sources.base import SourceClass
from rded_core.io.storage.files import file_digest
from rded_core.labels.codecs import Codec, find_codec
from rded_core.labels.views import Views

RecordedBatch = tuple[Tensor, Views, Tensor]
"""Rows of the images in the dataset's order, their views, and the teacher's logits, float32."""


class DistilledDataset(Dataset[tuple[Any, int]], LabelledImages):
    """A distilled dataset: small files are read at once, images on first use, labels epoch by epoch.

    ``dataset[i]`` is an image (uint8 RGB, ``[3, s, s]``, or the result of `transform`) and its class, for plain use.
    ``dataset.loader(...)`` yields the recorded views with the teacher's logits.

    Args:
        where: a run folder, the dataset folder in it, or the URL of either (``s3://...``, ``hf://datasets/...``), whose
            files are fetched on first use and kept in ``~/.cache/rded`` (or ``$RDED_CACHE``).
        transform: applied to the image of ``dataset[i]``; the loader does not use it.

    Attributes:
        folder: local folder of its files.
        recipe: how to train students, from recipe.json.
        classes: in index order, from classes.json.

    Raises:
        InputError: a file is missing or damaged.
    """

    def __init__(self, where: str | Path | DatasetFolder, transform: Callable[[Tensor], Any] | None = None) -> None:
        self._files = open_files(where)
        self.folder, self.transform = self._files.folder, transform
        self.recipe = _read_recipe(self._files.fetch(self.folder.recipe))
        self.classes = _read_classes(self._files.fetch(self.folder.classes))

    @cached_property
    def images(self) -> StoredImages:
        """The stored images, decoded once and kept."""
        stored = read_images([self._files.fetch(tar) for tar in self._files.image_tars()])
        if len(stored.keys) != len(self):
            self._require_whole_tars()
            raise InputError(f"{self._files.where} holds {len(stored.keys)} images instead of {len(self)}; {REMEDY}")
        return stored

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its SHA256SUMS, and so of all its files; of the pixels if it has no SHA256SUMS."""
        return file_digest(self.folder.sums) if self.folder.sums.is_file() else self.pixel_digest

    @cached_property
    def pixel_digest(self) -> str:
        """SHA-256 of the images' pixels, by which label tables identify the images that they belong to."""
        return hashlib.sha256(self.images.images.numpy().data).hexdigest()

    @property
    def mean_and_std(self) -> tuple[Triple, Triple]:
        """Mean and standard deviation that normalise views, per channel, for pixels 0..1."""
        mean, std = (_as_triple(self.recipe.get(name)) for name in ("mean", "std"))
        if mean is None or std is None:
            raise InputError(f"{self.folder.recipe}: mean and std must be three numbers each; {REMEDY}")
        return mean, std

    @cached_property
    def codec(self) -> Codec:
        """Codec in which the labels are stored."""
        name = str(self.recipe.get("label_codec"))
        head = read_head(self._files.fetch(self.folder.teacher_head)) if name == "features" else None
        temperature = float(self.recipe.get("temperature", 1.0))
        codec = find_codec(name, num_classes=len(self.classes), temperature=temperature, head=head)
        if codec.num_classes != len(self.classes):
            counts = f"{codec.num_classes} classes, but classes.json has {len(self.classes)}"
            raise InputError(f"{self.folder.teacher_head} has {counts}; {REMEDY}")
        return codec

    @property
    def num_epochs(self) -> int:
        """Number of recorded label epochs."""
        return int(self.recipe["label_epochs"])

    @property
    def training_epochs(self) -> int:
        """Number of epochs that the recipe trains for; recorded epochs repeat if it exceeds their number."""
        return int(self.recipe.get("epochs", self.num_epochs))

    def __len__(self) -> int:
        return int(self.recipe["num_images"])

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """Returns an image and its class index."""
        image = self.images.images[index]
        return self.transform(image) if self.transform else image, int(self.images.class_indices[index])

    def read_epoch(self, epoch: int) -> EpochLabels:
        """Returns one recorded epoch, with the labels as stored.

        Raises:
            InputError: that epoch was not recorded, or its table is missing or damaged.
        """
        table = self.fetch_labels(epoch)
        try:
            labels = self._reader.read_epoch(table, epoch % EPOCHS_PER_FILE)
        except InputError:
            self._require_whole_tars()  # images that do not match the labels may be damaged
            raise
        if len(labels.rows) != len(self):
            raise InputError(f"{table} has {len(labels.rows)} views in epoch {epoch}, not {len(self)}; {REMEDY}")
        return labels

    def fetch_labels(self, epoch: int) -> Path:
        """Returns the local path of a recorded epoch's table, fetched if it lies at a URL.

        Raises:
            InputError: that epoch was not recorded, or its table cannot be fetched.
        """
        if not 0 <= epoch < self.num_epochs:
            raise InputError(
                f"epoch {epoch} of {self._files.where} was not recorded (the dataset has {self.num_epochs}); distil "
                "with more --label-epochs, or train fewer epochs"
            )
        return self._files.fetch(find_table(self.folder, epoch, num_epochs=self.num_epochs))

    def prepare_labels(self) -> None:
        """Reads everything that decoding labels needs, apart from their tables, before processes copy the dataset.

        Raises:
            InputError: the images, or the teacher's last layer, are missing or damaged.
        """
        _ = self._reader

    def recorded_batches(self, epoch: int) -> Iterator[RecordedBatch]:
        """Yields the batches of one epoch as recorded: image rows, views, teacher logits.

        Raises:
            InputError: as `read_epoch`.
        """
        for rows, views, encoded in split_batches(self.read_epoch(epoch)):
            yield rows, views, self.codec.decode(encoded)

    def loader(
        self,
        batch_size: int | None = None,
        epochs: int | None = None,
        num_workers: int = 0,
        seed: int = 0,
        device: int | str | torch.device = "cpu",
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        rank: int | None = None,
        num_ranks: int | None = None,
    ) -> LabelLoader:
        """Returns a loader of normalised views and teacher logits; each pass over it is the next epoch.

        Args:
            batch_size: views per batch, of all ranks together; by default the recorded batches.
            epochs: of training; by default the recipe's. Beyond their number, the recorded epochs repeat.
            num_workers: processes that make views; with 0 this process makes them, on `device`.
            seed: of the order in which recorded epochs repeat, and of `shuffle`.
            device: of the batches: ``cpu``, ``cuda:1``, ``auto``, ..., or the number of a CUDA device.
            shuffle: draw a new order of each epoch's views instead of the recorded one (which was drawn at random).
            drop_last: leave out the last batch of an epoch if `batch_size` does not divide the number of images.
            rank: of this process, out of `num_ranks`; by default torch.distributed's, if that is initialised.
            num_ranks: processes that share each batch; each gets equally many views, if necessary with repeats.

        Raises:
            InputError: a number is out of range, or a file is missing or damaged.
        """
        return LabelLoader(
            self,
            batch_size=batch_size,
            epochs=self.training_epochs if epochs is None else epochs,
            num_workers=num_workers,
            seed=seed,
            device=find_device(f"cuda:{device}" if isinstance(device, int) else str(device)),
            shuffle=shuffle,
            drop_last=drop_last,
            rank=rank,
            num_ranks=num_ranks,
        )

    def _require_whole_tars(self) -> None:
        """Raises InputError if an image shard is missing or does not match its digest in SHA256SUMS."""
        with suppress(OSError, DamagedRecord):
            sums = read_sums(self.folder)
            for name in sorted(name for name in sums if name.endswith(".tar")):
                tar = self.folder.root / name
                if not tar.is_file() or file_digest(tar) != sums[name]:
                    fault = "does not match its digest in SHA256SUMS" if tar.is_file() else "is missing"
                    raise InputError(f"{tar} {fault}; {REMEDY}")

    @cached_property
    def _reader(self) -> LabelReader:
        return LabelReader(self.images.keys, self.codec, self.pixel_digest, size=self.images.images.shape[-1])


def _read_recipe(path: Path) -> dict[str, Any]:
    recipe = _read_json(path)
    counts = [recipe.get(name) for name in ("num_images", "label_epochs")] if isinstance(recipe, dict) else [None]
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        raise InputError(f"{path}: num_images and label_epochs must be whole numbers >= 0; {REMEDY}")
    epochs, temperature = recipe.get("epochs", 1), recipe.get("temperature", 1.0)
    if not isinstance(epochs, int) or epochs < 1 or not isinstance(temperature, int | float) or not temperature > 0:
        raise InputError(
            f"{path}: epochs must be >= 1 and temperature > 0, got {epochs!r} and {temperature!r}; {REMEDY}"
        )
    return recipe


def _as_triple(value: Any) -> Triple | None:
    is_triple = isinstance(value, list) and len(value) == 3 and all(isinstance(number, int | float) for number in value)
    return (float(value[0]), float(value[1]), float(value[2])) if is_triple else None


def _read_classes(path: Path) -> tuple[SourceClass, ...]:
    try:
        entries = [
            SourceClass(entry["index"], entry["name"], entry["wnid"], entry["folder"]) for entry in _read_json(path)
        ]
    except (TypeError, KeyError) as error:
        raise InputError(f"{path} is not a list of classes ({error}); {REMEDY}") from error
    texts: list[Any] = [text for label in entries for text in (label.name, label.folder)]
    if not all(isinstance(text, str) for text in texts):
        raise InputError(f"{path} has a class without a name; {REMEDY}")
    if [label.index for label in entries] != list(range(len(entries))):
        raise InputError(f"{path} does not number its classes 0, 1, 2, ...; {REMEDY}")
    return tuple(entries)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({error}); {REMEDY}") from error
