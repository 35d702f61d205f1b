"""What a student sees: views of a distilled dataset with their targets, prepared ahead on other threads."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from rded_core.io.distilled import DistilledDataset
from rded_core.io.parallel import map_ordered
from rded_core.io.soft_label_tables import LabelledBatch
from rded_core.protocols import Protocol
from rded_core.seeds import counter_generator
from rded_core.soft_labels import decode_logits, plan_batches
from rded_core.views import ViewRecipe, Views, apply_views, draw_views, partner_share


@dataclass(frozen=True, slots=True)
class StudentBatch:
    """One batch of normalised views before mixing, and what the student is to learn from it.

    Attributes:
        shown: views, partners not yet pasted.
        views: their parameters.
        teacher_logits: of the mixed views; zeros under one-hot protocols, which read none.
        hard_labels: rows that sum to one, mixed by the share of the partner.
    """

    shown: Float[Tensor, "b 3 s s"]
    views: Views
    teacher_logits: Float[Tensor, "b k"]
    hard_labels: Float[Tensor, "b k"]


def student_batches(
    dataset: DistilledDataset, protocol: Protocol, *, epoch: int, seed: int, workers: int
) -> Iterator[StudentBatch]:
    """Yields one epoch: the recorded views and logits, or freshly drawn unmixed views under one-hot protocols."""
    recorded = (
        _one_hot_batches(dataset, protocol, epoch=epoch, seed=seed)
        if protocol.one_hot
        else dataset.recorded_batches(epoch)
    )
    _ = dataset.images  # decoded here, once, and not by every worker that finds them missing
    yield from map_ordered(lambda batch: _prepare(dataset, batch), recorded, workers=workers)


def _one_hot_batches(
    dataset: DistilledDataset, protocol: Protocol, *, epoch: int, seed: int
) -> Iterator[LabelledBatch]:
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
        yield rows, views, torch.zeros(len(rows), len(dataset.classes), dtype=torch.float16)


def _prepare(dataset: DistilledDataset, batch: LabelledBatch) -> StudentBatch:
    rows, views, logits = batch
    recipe, stored = dataset.recipe, dataset.images
    shown = apply_views(stored.images[rows], views, mean=tuple(recipe["mean"]), std=tuple(recipe["std"]), mix=False)
    own = functional.one_hot(stored.class_indices[rows], len(dataset.classes)).float()
    share = partner_share(views, shown.shape[-1])[:, None]
    hard = own * (1.0 - share) + own[views.mix_position] * share
    return StudentBatch(shown, views, decode_logits(logits), hard)
