"""Plans the recorded views of each batch of a training, for each of the processes that share it."""

import os
from collections.abc import Iterator
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, distributed
from torch.utils.data import Sampler

from rded_core.errors import InputError
from rded_core.io.dataset.interface import LabelledImages
from rded_core.io.dataset.recorded_views import RecordedViews
from rded_core.labels.epoch_order import stored_epoch
from rded_core.seeds import counter_generator
from rded_core.text.wording import counted


class BatchPlan(Sampler[tuple[int, Tensor]]):
    """The rows of each batch of a training, and the current position; yields the remaining batches of the epoch.

    It holds no reference to its loader: a cycle of the two would leave worker processes to Python's cycle collector,
    which closes their queues before it asks them to end.

    Args:
        views: the recorded views.
        batch_size: like all other arguments, as in `DistilledDataset.loader`.

    Attributes:
        epoch: current epoch of the training.
        step: number of its batches that were yielded.
        ranks: of this process and their number, if they were given; None to ask torch.distributed at each epoch, as
            its process group may be made after the loader.
    """

    def __init__(
        self,
        views: RecordedViews,
        *,
        batch_size: int | None,
        epochs: int,
        seed: int,
        shuffle: bool,
        drop_last: bool,
        ranks: tuple[int, int] | None,
    ) -> None:
        self.views, self.batch_size, self.epochs, self.seed = views, batch_size, epochs, seed
        self.shuffle, self.drop_last, self.ranks = shuffle, drop_last, ranks
        self.epoch = self.step = 0
        self._last_ranks = (0, 1)

    def find_ranks(self) -> tuple[int, int]:
        """Returns this process's rank and the number of ranks, as of now."""
        return self.ranks or current_ranks() or (0, 1)

    def __len__(self) -> int:
        """Returns the number of batches of the current epoch, or of the first one once all are finished."""
        return len(self.batches(self.epoch % self.epochs))

    def __iter__(self) -> Iterator[tuple[int, Tensor]]:
        self._last_ranks = self.find_ranks()
        remaining = self.batches(self.epoch)[self.step :]
        for stored in {stored for stored, _ in remaining}:
            self.views.dataset.fetch_labels(stored)  # once here instead of in each worker process
        yield from remaining

    def batches(self, epoch: int) -> list[tuple[int, Tensor]]:
        """Returns this rank's batches of a training epoch: stored epoch, and rows in it."""
        stored = stored_epoch(epoch, num_stored=self.views.dataset.num_epochs, seed=self.seed)
        num_rows = len(self.views.dataset)
        order = torch.arange(num_rows)
        if self.shuffle:
            order = torch.randperm(num_rows, generator=counter_generator(self.seed, "loader-order", epoch))
        sizes: Any = self.views.labels(stored).sizes() if self.batch_size is None else self.batch_size
        parts = order.split(sizes)
        if self.drop_last and num_rows % sizes:
            parts = parts[:-1]
        rank, num_ranks = self.find_ranks()
        return [(stored, _share(part, rank, num_ranks)) for part in parts]

    def describe_single_views(self) -> str:
        """Returns a warning if a batch leaves each rank a single view although more were requested, else ""."""
        num_rows, (_, num_ranks) = len(self.views.dataset), self.find_ranks()
        if self.batch_size is None:  # a single rank takes the recorded batches as they are
            sizes = self.views.labels(0).sizes() if num_ranks > 1 else [num_rows]
        else:
            rest = 0 if self.drop_last else num_rows % self.batch_size
            sizes = [min(self.batch_size, num_rows), *([rest] if rest else [])]
        if self.batch_size == 1 or num_rows == 1 or min(sizes) > num_ranks:
            return ""
        is_rest = self.batch_size is not None and max(sizes) > num_ranks
        shared = f" for {num_ranks} ranks" if num_ranks > 1 else ""
        return (
            f"BatchNorm needs at least 2 views per rank, but a batch of {counted(min(sizes), 'view')}{shared} "
            f"leaves 1; give {'drop_last=True or a different' if is_rest else 'a larger'} batch_size"
        )

    def go_to(self, epoch: int, step: int) -> None:
        """Moves to a batch of an epoch; raises InputError if it does not exist."""
        last = len(self.batches(epoch)) if 0 <= epoch < self.epochs else 0
        if not 0 <= epoch <= self.epochs or not 0 <= step <= last:
            raise InputError(f"the loader has no step {step} in epoch {epoch}; it has {self.epochs} epochs")
        self.epoch, self.step = (epoch + 1, 0) if epoch < self.epochs and step == last else (epoch, step)

    def advance(self, num_batches: int) -> None:
        """Counts one more batch of an epoch that has `num_batches`."""
        is_last = self.step + 1 >= num_batches
        self.epoch, self.step = (self.epoch + 1, 0) if is_last else (self.epoch, self.step + 1)

    def identity(self) -> dict[str, Any]:
        """Returns the settings that another plan must share to have the same batches."""
        dataset = self.views.dataset
        return {
            "batch_size": self.batch_size,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
            "num_ranks": (self.ranks or current_ranks() or self._last_ranks)[1],
            "label_epochs": dataset.num_epochs,
            "label_codec": dataset.codec.name,
            "dataset": dataset.digest,
        }


def require_batches(dataset: LabelledImages, *, batch_size: int | None, epochs: int, drop_last: bool) -> None:
    """Raises InputError if the dataset has no such batches; reads only its recipe."""
    require_counts(1, batch_size=batch_size, epochs=epochs, label_epochs=dataset.num_epochs)
    if drop_last and batch_size is None:
        raise InputError("drop_last does not apply to recorded batches; give a batch_size too")
    if drop_last and batch_size is not None and batch_size > len(dataset):
        raise InputError(f"batch_size {batch_size} with drop_last drops all {len(dataset)} images; give a smaller one")


def given_ranks(rank: int | None, num_ranks: int | None) -> tuple[int, int] | None:
    """Returns the rank and the number of ranks that the user gives, or None; raises InputError if they do not fit."""
    if (rank is None) != (num_ranks is None):
        raise InputError("give both rank and num_ranks, or neither")
    if rank is None or num_ranks is None:
        return None
    require_counts(1, num_ranks=num_ranks)
    require_counts(0, rank=rank)
    if rank >= num_ranks:
        raise InputError(f"rank must lie in 0..num_ranks - 1, got {rank} of {num_ranks}")
    return rank, num_ranks


def current_ranks() -> tuple[int, int] | None:
    """Returns this process's rank and the number of ranks in torch.distributed's group; None outside a group."""
    is_distributed = distributed.is_available() and distributed.is_initialized()
    return (distributed.get_rank(), distributed.get_world_size()) if is_distributed else None


def describe_missing_group() -> str:
    """Returns a warning if torchrun started several processes that do not form a group yet, else ""."""
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
    count = os.environ.get("WORLD_SIZE", "") if all(name in os.environ for name in names) else ""
    if not (count.isdecimal() and int(count) > 1):
        return ""
    return (
        f"{count} processes were started but form no process group, so each gets every view; call "
        "torch.distributed.init_process_group before the loop, or give rank and num_ranks"
    )


def _share(rows: Tensor, rank: int, num_ranks: int) -> Tensor:
    """Returns a rank's part of a batch: equally many rows for every rank, if necessary with repeats."""
    if num_ranks == 1:
        return rows
    length = -(-len(rows) // num_ranks)
    return rows[torch.arange(rank, length * num_ranks, num_ranks) % len(rows)]


def require_counts(least: int, **counts: Any) -> None:
    """Raises InputError if a number is not a whole number or is below `least`; None is allowed."""
    for name, count in counts.items():
        if count is not None and (isinstance(count, bool) or not isinstance(count, Integral) or count < least):
            raise InputError(f"{name} must be a whole number >= {least}, got {count!r}")
