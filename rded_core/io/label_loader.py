"""Recorded views and their labels as a loader that any training loop can use."""

import logging
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, distributed
from torch.utils.data import DataLoader, Dataset

from rded_core.chosen_views import choose_views
from rded_core.errors import InputError
from rded_core.io.soft_label_tables import EpochLabels
from rded_core.io.uploads import keep_on_device, take_rows, upload, upload_views
from rded_core.seeds import counter_generator
from rded_core.stored_epochs import count_uses, describe_uses, stored_epoch
from rded_core.views import apply_views

if TYPE_CHECKING:
    from rded_core.io.distilled import DistilledDataset

logger = logging.getLogger(__name__)

CPU = torch.device("cpu")

Batch = tuple[Float[Tensor, "b 3 s s"], Float[Tensor, "b k"]]
"""Normalised views, mixed with their partners, and the teacher's logits for them."""


class RecordedViews(Dataset[Batch]):
    """All recorded views of a dataset; an item is a (stored epoch, row) pair. For samplers of one's own.

    A view is made by its own row and its partner's alone, so any selection, order and batch size give the same views.
    Rows are those of the epoch's row group.

    Args:
        dataset: the dataset.
        device: where views are made.
    """

    def __init__(self, dataset: "DistilledDataset", device: torch.device = CPU) -> None:
        self.dataset, self.device = dataset, device
        self.mean, self.std = (tuple(dataset.recipe[name]) for name in ("mean", "std"))
        self._images = dataset.images.images
        self._labels: Any = None

    def __getitem__(self, item: tuple[int, int]) -> Batch:
        """Returns one view and its logits."""
        shown, logits = self.__getitems__([item])
        return shown[0], logits[0]

    def __getitems__(self, items: Sequence[tuple[int, int]]) -> Batch:
        """Returns views and logits of rows of one stored epoch."""
        (epoch,) = {epoch for epoch, _ in items}
        return self.make(epoch, torch.tensor([row for _, row in items]))

    def make(self, epoch: int, rows: Tensor) -> Batch:
        """Returns views and logits of rows of a stored epoch, on the device."""
        labels = self.labels(epoch)
        size = self._images.shape[-1]
        needed, views, places = choose_views(labels.views, rows, size)
        images = take_rows(self._on_device(), labels.rows[needed], self.device)
        shown = apply_views(images, upload_views(views, self.device), mean=self.mean, std=self.std)
        if not torch.equal(places, torch.arange(len(needed))):
            shown = shown[upload(places, self.device)]
        codec = self.dataset.codec
        logits = codec.decode({name: part[rows] for name, part in labels.encoded.items()})
        return shown, upload(logits, self.device)

    def labels(self, epoch: int) -> EpochLabels:
        """Returns a stored epoch; the last two are kept."""
        if self._labels is None:
            self._labels = lru_cache(maxsize=2)(self.dataset.read_epoch)
        return self._labels(epoch)

    def _on_device(self) -> Tensor:
        if self._images.device.type != self.device.type:
            self._images = keep_on_device(self._images, self.device)
        return self._images

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_labels": None}  # a worker process reads its own


class LabelLoader:
    """Yields (views, logits); each pass is the next epoch, as far as it has not been seen yet.

    ``for epoch in range(loader.epochs): for images, logits in loader: ...``. It stands where it was stopped:
    `state_dict` says where, and `load_state_dict` goes there, so that training resumes at any step with the batches
    that it would have seen. Args: as `DistilledDataset.loader`.

    Attributes:
        epochs: of the whole training.
        uses: how often each stored epoch is shown in it.
    """

    def __init__(
        self,
        dataset: "DistilledDataset",
        *,
        batch_size: int | None,
        epochs: int,
        num_workers: int,
        seed: int,
        device: torch.device,
        shuffle: bool,
        rank: int | None,
        num_ranks: int | None,
    ) -> None:
        self.rank, self.num_ranks = _find_rank(rank, num_ranks)
        _check(batch_size=batch_size, epochs=epochs, num_ranks=self.num_ranks, num_workers=num_workers + 1)
        self.dataset, self.batch_size, self.epochs = dataset, batch_size, epochs
        self.seed, self.device, self.shuffle = seed, device, shuffle
        self._epoch = self._step = 0
        self.views = RecordedViews(dataset, CPU if num_workers else device)
        self._sampler = _Sampler(self)
        self._batches: DataLoader[Batch] = DataLoader(
            self.views,
            batch_sampler=self._sampler,
            num_workers=num_workers,
            collate_fn=_as_they_come,
            persistent_workers=num_workers > 0,
            pin_memory=num_workers > 0 and device.type == "cuda",
        )
        self.uses = count_uses(epochs, num_stored=dataset.num_epochs, seed=seed)
        logger.info("%s", describe_uses(epochs, num_stored=dataset.num_epochs, seed=seed))

    def __len__(self) -> int:
        """Counts the batches of a whole epoch."""
        return len(self.plan(self._epoch % self.epochs))

    @property
    def epoch(self) -> int:
        """The epoch that the next batch is of; `epochs` where all have been seen."""
        return self._epoch

    def __iter__(self) -> Iterator[Batch]:
        """Yields what is left of the current epoch.

        Raises:
            InputError: all epochs have been seen, or a table is missing or damaged.
        """
        if self._epoch >= self.epochs:
            raise InputError(
                f"all {self.epochs} epochs of this loader have been seen; make one with more epochs, or load_state_dict"
            )
        for shown, logits in self._batches:
            self._step += 1
            yield upload(shown, self.device), upload(logits, self.device)
        self._epoch, self._step = self._epoch + 1, 0

    def plan(self, epoch: int) -> list[tuple[int, Tensor]]:
        """Returns the batches of an epoch of training for this rank: stored epoch, and rows in it."""
        stored = stored_epoch(epoch, num_stored=self.dataset.num_epochs, seed=self.seed)
        num_rows = len(self.dataset)
        order = torch.arange(num_rows)
        if self.shuffle:
            order = torch.randperm(num_rows, generator=counter_generator(self.seed, "loader-order", epoch))
        sizes: Any = self.batch_size
        if sizes is None:
            sizes = self.views.labels(stored).sizes()
        return [(stored, self._share(part)) for part in order.split(sizes)]

    def _share(self, rows: Tensor) -> Tensor:
        """Returns this rank's part of a batch: as many rows for every rank, some twice where they do not divide."""
        if self.num_ranks == 1:
            return rows
        length = -(-len(rows) // self.num_ranks)
        return rows[torch.arange(self.rank, length * self.num_ranks, self.num_ranks) % len(rows)]

    def state_dict(self) -> dict[str, Any]:
        """Returns where the loader stands, after the last batch that it gave; plain numbers and texts."""
        return {"epoch": self._epoch, "step": self._step, **self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes where another loader of the same kind stood.

        Raises:
            InputError: that loader was of another kind: its batches were others.
        """
        own = self._identity()
        if others := [name for name in own if state.get(name) != own[name]]:
            raise InputError(
                f"the loader's state is of another {', '.join(others)} ({state.get(others[0])}, not {own[others[0]]}); "
                "make the loader as it was made then"
            )
        self._epoch, self._step = int(state["epoch"]), int(state["step"])

    def _identity(self) -> dict[str, Any]:
        recipe = self.dataset.recipe
        return {
            "batch_size": self.batch_size,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "num_ranks": self.num_ranks,
            "num_images": len(self.dataset),
            "label_epochs": self.dataset.num_epochs,
            "label_codec": recipe.get("label_codec"),
        }

    def remaining(self) -> Iterator[list[tuple[int, int]]]:
        """Yields the items of `RecordedViews` that are left of this epoch, batch by batch."""
        for stored, rows in self.plan(self._epoch)[self._step :]:
            yield [(stored, row) for row in rows.tolist()]


class _Sampler:
    """Batches from where a loader stands, each time it is asked."""

    def __init__(self, loader: LabelLoader) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return self.loader.remaining()

    def __len__(self) -> int:
        return len(self.loader)


def _as_they_come(batch: Any) -> Any:
    return batch


def _find_rank(rank: int | None, num_ranks: int | None) -> tuple[int, int]:
    """Returns this process's rank and how many there are, by default as torch.distributed has them."""
    is_distributed = distributed.is_available() and distributed.is_initialized()
    if num_ranks is None:
        num_ranks = distributed.get_world_size() if is_distributed else 1
    if rank is None:
        rank = distributed.get_rank() if is_distributed and num_ranks > 1 else 0
    if not 0 <= rank < num_ranks:
        raise InputError(f"rank must lie in 0..{num_ranks - 1}, got {rank}")
    return rank, num_ranks


def _check(**counts: int | None) -> None:
    for name, count in counts.items():
        if count is not None and count < 1:
            raise InputError(f"{name} must be >= 1, got {count}" if name != "num_workers" else "num_workers < 0")
