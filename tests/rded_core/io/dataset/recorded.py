"""Recorded batches, made in the plain way, for tests to compare with."""

import torch
from torch import Tensor

from rded_core.io.dataset.distilled import DistilledDataset
from rded_core.labels.views import apply_views

Batches = list[tuple[Tensor, Tensor]]


def as_recorded(dataset: DistilledDataset, epoch: int) -> Batches:
    """Returns one epoch made in the plain way: each recorded batch through `apply_views`."""
    mean, std = dataset.mean_and_std
    images = dataset.images.images
    recorded = dataset.recorded_batches(epoch)
    return [(apply_views(images[rows], views, mean=mean, std=std), logits) for rows, views, logits in recorded]


def whole(batches: Batches) -> tuple[Tensor, Tensor]:
    shown, logits = zip(*batches, strict=True)
    return torch.cat(shown), torch.cat(logits)


def assert_same(found: Batches, expected: Batches) -> None:
    assert [len(shown) for shown, _ in found] == [len(shown) for shown, _ in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert all(map(torch.equal, ours, theirs))
