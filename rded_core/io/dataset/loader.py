"""Recorded views and their labels as a loader that any training loop can use."""

import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from rded_core.errors import InputError
from rded_core.io.dataset.batch_plan import (
    BatchPlan,
    current_ranks,
    describe_missing_group,
    given_ranks,
    require_batches,
    require_counts,
)
from rded_core.io.dataset.interface import LabelledImages
from rded_core.io.dataset.recorded_views import CPU, Batch, RecordedViews
from rded_core.io.device.uploads import upload
from rded_core.labels.epoch_order import count_uses, describe_uses

logger = logging.getLogger(__name__)


class LabelLoader:
    """Yields (views, logits); each pass covers the rest of the current epoch.

    ``for epoch in range(loader.epochs): for images, logits in loader: ...``. It keeps its position:
    `state_dict` returns it and `load_state_dict` restores it, so that training resumes at any step with the batches
    that would have come next. Args: as `DistilledDataset.loader`.

    Attributes:
        epochs: number of epochs of the whole training.
        uses: how often the training shows each stored epoch.
    """

    def __init__(
        self,
        dataset: LabelledImages,
        *,
        batch_size: int | None,
        epochs: int,
        num_workers: int,
        seed: int,
        device: torch.device,
        shuffle: bool,
        drop_last: bool,
        rank: int | None,
        num_ranks: int | None,
    ) -> None:
        require_counts(0, num_workers=num_workers)
        require_batches(dataset, batch_size=batch_size, epochs=epochs, drop_last=drop_last)
        ranks = given_ranks(rank, num_ranks)
        self.dataset, self.epochs, self.device = dataset, epochs, device
        self.views = RecordedViews(dataset, CPU if num_workers else device)
        self._plan = BatchPlan(
            self.views,
            batch_size=batch_size,
            epochs=epochs,
            seed=seed,
            shuffle=shuffle,
            drop_last=drop_last,
            ranks=ranks,
        )
        self._batches: DataLoader[Batch] = DataLoader(
            self.views,
            sampler=self._plan,
            batch_size=None,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=num_workers > 0 and device.type == "cuda",
            generator=torch.Generator(),  # otherwise each pass would draw from the user's global generator
        )
        self.uses = count_uses(epochs, num_stored=dataset.num_epochs, seed=seed)
        logger.info("%s", describe_uses(epochs, num_stored=dataset.num_epochs, seed=seed))
        self._expected_ranks: int | None = None
        self._warnings: set[str] = set()
        self._warn(self._plan.describe_single_views())

    def __len__(self) -> int:
        """Returns the number of batches in a whole epoch."""
        return len(self._plan)

    @property
    def rank(self) -> int:
        """This process's rank; unless it was given, that of torch.distributed's group as of now, as for `num_ranks`."""
        return self._plan.find_ranks()[0]

    @property
    def num_ranks(self) -> int:
        """Number of processes that share each batch."""
        return self._plan.find_ranks()[1]

    @property
    def epoch(self) -> int:
        """Epoch of the next batch; `epochs` once all are finished."""
        return self._plan.epoch

    def __iter__(self) -> Iterator[Batch]:
        """Yields the remaining batches of the current epoch.

        Raises:
            InputError: all epochs are finished, a table is missing or damaged, or the loader state that was loaded
                belongs to another number of ranks.
        """
        if self._expected_ranks not in (None, self.num_ranks):
            raise _different({"num_ranks": (self._expected_ranks, self.num_ranks)})
        if self.epoch >= self.epochs:
            raise InputError(
                f"all {self.epochs} epochs of this loader are finished; create one with more epochs, or load_state_dict"
            )
        if self._plan.ranks is None and current_ranks() is None:
            self._warn(describe_missing_group())
        self._warn(self._plan.describe_single_views())
        num_batches = len(self)
        try:
            for shown, logits in self._batches:
                # Before the yield, so that a loop that stops after the last batch has finished the epoch.
                self._plan.advance(num_batches)
                yield upload(shown, self.device), upload(logits, self.device)
        except InputError as error:
            raise InputError(_own_words(error)) from error

    def state_dict(self) -> dict[str, Any]:
        """Returns the position after the last batch that was yielded, in plain numbers and strings."""
        return {"epoch": self._plan.epoch, "step": self._plan.step, **self._plan.identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Moves to the position of another loader with the same settings and dataset.

        Raises:
            InputError: that loader had different settings or another dataset, or `state` is not a loader state.
        """
        own = self._plan.identity()
        if missing := [name for name in ("epoch", "step", *own) if name not in state]:
            names = ", ".join(map(repr, missing))
            verb = "is" if len(missing) == 1 else "are"
            raise InputError(f"not a loader state: {names} {verb} missing; pass what state_dict() returned")
        is_open = self._plan.ranks is None and current_ranks() is None  # the group may be made later
        others = {name: (state[name], own[name]) for name in own if state[name] != own[name]}
        self._expected_ranks = int(others.pop("num_ranks", (own["num_ranks"],))[0]) if is_open else None
        if others:
            raise _different(others)
        self.seek(int(state["epoch"]), int(state["step"]))

    def seek(self, epoch: int, step: int = 0) -> None:
        """Moves to a batch of a training epoch; ``epoch=loader.epochs`` is the end.

        Raises:
            InputError: there is no such epoch or batch.
        """
        self._plan.go_to(epoch, step)

    def _warn(self, warning: str) -> None:
        """Logs a warning, once; nothing if it is empty."""
        if warning and warning not in self._warnings:
            logger.warning("%s", warning)
        self._warnings.add(warning)


def _different(others: dict[str, tuple[Any, Any]]) -> InputError:
    """Returns the error of a loader state with other settings, given each as (the state's, the loader's)."""
    listed = ", ".join(f"{name} ({before}, not {now})" for name, (before, now) in others.items())
    return InputError(
        f"the loader state has a different {listed}; create the loader with the same settings and dataset"
    )


def _own_words(error: InputError) -> str:
    """Returns an error's message without the traceback that torch prepends if a worker process raised it."""
    name = f"{InputError.__module__}.{InputError.__qualname__}: "
    return str(error).strip().splitlines()[-1].removeprefix(name)
