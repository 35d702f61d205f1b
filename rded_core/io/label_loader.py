"""Recorded views and their labels as a loader that any training loop can use."""

import logging
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, distributed
from torch.utils.data import DataLoader, Dataset, Sampler

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
    """All recorded views of a dataset: ``views[epoch, rows]`` is a batch. For samplers of one's own.

    A view is made by its own row and its partner's alone, so any selection, order and batch size give the same views.
    With ``DataLoader(views, sampler=[(epoch, rows), ...], batch_size=None)`` worker processes make them.

    Args:
        dataset: the dataset.
        device: where views are made.

    Raises:
        InputError: the images are missing or damaged.
    """

    def __init__(self, dataset: "DistilledDataset", device: torch.device = CPU) -> None:
        self.dataset, self.device = dataset, device
        self.mean, self.std = dataset.mean_and_std
        dataset.prepare_labels()  # once here, and not once in each worker process
        self._images = keep_on_device(dataset.images.images, device)
        self._labels: Any = None

    def __getitem__(self, item: tuple[int, Tensor]) -> Batch:
        """Returns views and logits of rows of a stored epoch, on the device.

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
        """Returns a stored epoch; the last two are kept."""
        if self._labels is None:
            self._labels = lru_cache(maxsize=2)(self.dataset.read_epoch)
        return self._labels(epoch)

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
        _require_counts(batch_size=batch_size, epochs=epochs, label_epochs=dataset.num_epochs)
        if num_workers < 0:
            raise InputError(f"num_workers must be >= 0, got {num_workers}")
        self.dataset, self.batch_size, self.epochs = dataset, batch_size, epochs
        self.seed, self.device, self.shuffle = seed, device, shuffle
        self._epoch = self._step = 0
        self.views = RecordedViews(dataset, CPU if num_workers else device)
        self._batches: DataLoader[Batch] = DataLoader(
            self.views,
            sampler=_Remaining(self),
            batch_size=None,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=num_workers > 0 and device.type == "cuda",
            generator=torch.Generator(),  # else each pass would take a number from torch's own, which is the user's
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
        try:
            for shown, logits in self._batches:
                self._step += 1
                yield upload(shown, self.device), upload(logits, self.device)
        except InputError as error:
            raise InputError(_own_words(error)) from error
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
        self.seek(int(state["epoch"]), int(state["step"]))

    def seek(self, epoch: int, step: int = 0) -> None:
        """Goes to a batch of an epoch of training; ``epoch=loader.epochs`` is the end.

        Raises:
            InputError: there is no such epoch or batch.
        """
        last = len(self.plan(epoch)) if 0 <= epoch < self.epochs else 0
        if not 0 <= epoch <= self.epochs or not 0 <= step <= last:
            raise InputError(f"the loader has no step {step} of epoch {epoch}: it has {self.epochs} epochs")
        self._epoch, self._step = epoch, step

    def _identity(self) -> dict[str, Any]:
        return {
            "batch_size": self.batch_size,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "num_ranks": self.num_ranks,
            "label_epochs": self.dataset.num_epochs,
            "label_codec": self.dataset.codec.name,
            "dataset": self.dataset.digest,
        }

    def remaining(self) -> Iterator[tuple[int, Tensor]]:
        """Yields what is left of this epoch, batch by batch, as `plan` has it."""
        left = self.plan(self._epoch)[self._step :]
        for stored in {stored for stored, _ in left}:
            self.dataset.fetch_labels(stored)  # once here, and not once in each worker process
        yield from left


class _Remaining(Sampler[tuple[int, Tensor]]):
    """Batches from where a loader stands, each time it is asked."""

    def __init__(self, loader: LabelLoader) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[tuple[int, Tensor]]:
        return self.loader.remaining()

    def __len__(self) -> int:
        return len(self.loader)


def _own_words(error: InputError) -> str:
    """Returns an error's message without the traceback that torch puts before it where a worker process raised it."""
    name = f"{InputError.__module__}.{InputError.__qualname__}: "
    return str(error).strip().splitlines()[-1].removeprefix(name)


def _find_rank(rank: int | None, num_ranks: int | None) -> tuple[int, int]:
    """Returns this process's rank and how many there are, by default as torch.distributed has them."""
    is_distributed = distributed.is_available() and distributed.is_initialized()
    if (rank is None) != (num_ranks is None):
        raise InputError("give both rank and num_ranks, or neither")
    if rank is None or num_ranks is None:
        return (distributed.get_rank(), distributed.get_world_size()) if is_distributed else (0, 1)
    if not 0 <= rank < num_ranks:
        raise InputError(f"rank must lie in 0..num_ranks - 1, got {rank} of {num_ranks}")
    return rank, num_ranks


def _require_counts(**counts: int | None) -> None:
    for name, count in counts.items():
        if count is not None and count < 1:
            raise InputError(f"{name} must be >= 1, got {count}")
