"""Recorded views and their labels: any rows of any epoch as one batch."""

from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from rded_core.io.dataset.interface import LabelledImages
from rded_core.io.device.uploads import keep_on_device, take_rows, upload, upload_views
from rded_core.io.formats.soft_labels import EpochLabels
from rded_core.labels.view_subsets import choose_views
from rded_core.labels.views import apply_views

CPU = torch.device("cpu")

Batch = tuple[Float[Tensor, "b 3 s s"], Float[Tensor, "b k"]]
"""Normalised views, mixed with their partners, and the teacher's logits for them."""


class RecordedViews(Dataset[Batch]):
    """All recorded views of a dataset: ``views[epoch, rows]`` is a batch. For custom samplers.

    A view depends only on its own row and its partner's, so any selection, order and batch size give the same views.
    With ``DataLoader(views, sampler=[(epoch, rows), ...], batch_size=None)`` worker processes make them.

    Args:
        dataset: the dataset.
        device: device that makes the views.

    Raises:
        InputError: the images are missing or damaged.
    """

    def __init__(self, dataset: LabelledImages, device: torch.device = CPU) -> None:
        self.dataset, self.device = dataset, device
        self.mean, self.std = dataset.mean_and_std
        dataset.prepare_labels()  # once here instead of in each worker process
        self._images = keep_on_device(dataset.images.images, device)
        self._labels: Any = None

    def __getitem__(self, item: tuple[int, Tensor]) -> Batch:
        """Returns views and logits for some rows of a stored epoch, on the device.

        Raises:
            InputError: the epoch was not recorded, or its table is missing or damaged.
        """
        epoch, rows = item
        labels = self.labels(epoch)
        needed, views, places = choose_views(labels.views, rows, self._images.shape[-1])
        images = take_rows(self._images, labels.rows[needed], self.device)
        shown = apply_views(images, upload_views(views, self.device), mean=self.mean, std=self.std)
        if not torch.equal(places, torch.arange(len(needed))):
            shown = shown[upload(places, self.device)]
        logits = self.dataset.codec.decode({name: part[rows] for name, part in labels.encoded.items()})
        return shown, upload(logits, self.device)

    def labels(self, epoch: int) -> EpochLabels:
        """Returns a stored epoch; the last two are cached."""
        if self._labels is None:
            self._labels = lru_cache(maxsize=2)(self.dataset.read_epoch)
        return self._labels(epoch)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_labels": None}  # each worker process reads its own
