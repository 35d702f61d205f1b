"""Batches for students: views of a distilled dataset with their targets, prepared ahead on other threads."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, groupby
from operator import itemgetter

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from rded_core.io.dataset.distilled import DistilledDataset, RecordedBatch
from rded_core.io.device.uploads import keep_on_device, take_rows, upload, upload_views
from rded_core.io.parallel import map_ordered
from rded_core.labels.batches import plan_batches
from rded_core.labels.epoch_order import stored_epoch
from rded_core.labels.views import ViewRecipe, apply_views, draw_views, mix_views, partner_share
from rded_core.seeds import counter_generator
from rded_core.training.protocols import Protocol

MAX_WORKERS = 4
"""Threads that make views: a training step takes many times as long as its views, and each thread holds batches."""


@dataclass(frozen=True, slots=True)
class StudentBatch:
    """One batch of normalised views on the student's device, with its targets.

    Attributes:
        shown: mixed views, channels last.
        unmixed: views without their partners, if requested.
        teacher_logits: of the mixed views; zeros under one-hot protocols, which do not use them.
        hard_labels: rows that sum to one, mixed by the share of the partner.
    """

    shown: Float[Tensor, "b 3 s s"]
    unmixed: Float[Tensor, "b 3 s s"] | None
    teacher_logits: Float[Tensor, "b k"]
    hard_labels: Float[Tensor, "b k"]


def student_epochs(
    dataset: DistilledDataset,
    protocol: Protocol,
    *,
    num_epochs: int,
    seed: int,
    device: torch.device,
    workers: int,
    unmixed: bool = False,
) -> Iterator[Iterator[StudentBatch]]:
    """Yields the epochs, each an iterator over its batches that must be exhausted before the next is taken.

    Batches hold the recorded views and logits, or freshly drawn unmixed views under one-hot protocols. Labels are read
    one epoch ahead and views are made some batches ahead on other threads, also across the ends of epochs; images are
    copied to the device once.
    """
    images = keep_on_device(dataset.images.images, device)

    def read(epoch: int) -> list[tuple[int, RecordedBatch]]:
        batches = (
            _one_hot_batches(dataset, protocol, epoch=epoch, seed=seed)
            if protocol.one_hot
            else dataset.recorded_batches(stored_epoch(epoch, num_stored=dataset.num_epochs, seed=seed))
        )
        return [(epoch, batch) for batch in batches]

    def prepare(entry: tuple[int, RecordedBatch]) -> tuple[int, StudentBatch]:
        return entry[0], _prepare(dataset, images, entry[1], device=device, unmixed=unmixed)

    recorded = chain.from_iterable(map_ordered(read, range(num_epochs), workers=1))
    prepared = map_ordered(prepare, recorded, workers=min(workers, MAX_WORKERS))
    for _, entries in groupby(prepared, key=itemgetter(0)):
        yield (batch for _, batch in entries)


def _one_hot_batches(
    dataset: DistilledDataset, protocol: Protocol, *, epoch: int, seed: int
) -> Iterator[RecordedBatch]:
    recipe = ViewRecipe(
        size=int(dataset.recipe["size"]),
        factor=int(dataset.recipe["views"]["factor"]),
        crop_scale_min=protocol.crop_scale_min(int(dataset.recipe["factor"])),
        flip=bool(dataset.recipe["views"]["flip"]),
        mix="none",
    )
    size = protocol.batch_size(
        ipc=int(dataset.recipe["ipc"]), num_classes=len(dataset.classes), num_images=len(dataset)
    )
    for number, rows in enumerate(plan_batches(len(dataset), size, counter_generator(seed, "student-order", epoch))):
        views = draw_views(recipe, len(rows), counter_generator(seed, "student-views", epoch, number))
        yield rows, views, torch.zeros(len(rows), len(dataset.classes))


def _prepare(
    dataset: DistilledDataset, images: Tensor, batch: RecordedBatch, *, device: torch.device, unmixed: bool
) -> StudentBatch:
    rows, views, logits = batch
    mean, std = tuple(dataset.recipe["mean"]), tuple(dataset.recipe["std"])
    moved = upload_views(views, device)
    plain = apply_views(take_rows(images, rows, device), moved, mean=mean, std=std, mix=False)
    own = functional.one_hot(dataset.images.class_indices[rows], len(dataset.classes)).float()
    share = partner_share(views, plain.shape[-1])[:, None]
    hard = own * (1.0 - share) + own[views.mix_position] * share
    return StudentBatch(
        mix_views(plain, moved).contiguous(memory_format=torch.channels_last),
        plain.contiguous(memory_format=torch.channels_last) if unmixed else None,
        upload(logits, device),
        upload(hard, device),
    )
