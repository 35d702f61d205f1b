"""Batches for students: recorded views by epoch, in order, for any number of threads."""

from pathlib import Path

import pytest
import torch

from rded_core.io.dataset.distilled import DistilledDataset
from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.training.student_batches import StudentBatch, student_epochs
from rded_core.labels.epoch_order import stored_epoch
from rded_core.labels.views import apply_views, partner_share
from rded_core.training.protocols import find_protocol

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def dataset(finished_run: Path) -> DistilledDataset:
    return DistilledDataset(DatasetFolder(finished_run / "dataset"))


def epochs_of(
    dataset: DistilledDataset, name: str = "paper", *, num_epochs: int = 3, workers: int = 2, unmixed: bool = False
) -> list[list[StudentBatch]]:
    options = {"num_epochs": num_epochs, "seed": 5, "device": CPU, "workers": workers, "unmixed": unmixed}
    return [list(batches) for batches in student_epochs(dataset, find_protocol(name), **options)]


def test_every_epoch_shows_the_recorded_views_with_their_logits(dataset: DistilledDataset) -> None:
    epochs = epochs_of(dataset, num_epochs=12)
    style = {"mean": tuple(dataset.recipe["mean"]), "std": tuple(dataset.recipe["std"])}
    assert len(epochs) == 12
    for epoch, batches in enumerate(epochs):
        recorded = list(dataset.recorded_batches(epoch))
        for batch, (rows, views, logits) in zip(batches, recorded, strict=True):
            assert torch.equal(batch.shown, apply_views(dataset.images.images[rows], views, **style))
            assert batch.shown.is_contiguous(memory_format=torch.channels_last)
            assert batch.unmixed is None
            assert torch.equal(batch.teacher_logits, logits.float())


def test_unmixed_views_are_included_on_request(dataset: DistilledDataset) -> None:
    style = {"mean": tuple(dataset.recipe["mean"]), "std": tuple(dataset.recipe["std"])}
    (batches,) = epochs_of(dataset, num_epochs=1, unmixed=True)
    for batch, (rows, views, _) in zip(batches, dataset.recorded_batches(0), strict=True):
        assert batch.unmixed is not None
        assert torch.equal(batch.unmixed, apply_views(dataset.images.images[rows], views, **style, mix=False))


def test_hard_labels_give_the_partner_its_share_of_the_view(dataset: DistilledDataset) -> None:
    (batches,) = epochs_of(dataset, num_epochs=1)
    for batch, (rows, views, _) in zip(batches, dataset.recorded_batches(0), strict=True):
        classes = dataset.images.class_indices[rows]
        share = partner_share(views, 32)
        torch.testing.assert_close(batch.hard_labels.sum(dim=1), torch.ones(len(rows)))
        for row, (own, partner) in enumerate(zip(classes, classes[views.mix_position], strict=True)):
            if own != partner:
                assert batch.hard_labels[row, partner].item() == pytest.approx(share[row].item())


@pytest.mark.parametrize("name", ["paper", "hard"])
def test_the_number_of_threads_changes_nothing(dataset: DistilledDataset, name: str) -> None:
    for one, many in zip(epochs_of(dataset, name, workers=1), epochs_of(dataset, name, workers=9), strict=True):
        for first, second in zip(one, many, strict=True):
            assert torch.equal(first.shown, second.shown)
            assert torch.equal(first.hard_labels, second.hard_labels)


def test_one_hot_views_are_drawn_afresh_each_epoch_and_never_mixed(dataset: DistilledDataset) -> None:
    epochs = epochs_of(dataset, "hard", num_epochs=40)  # more than are recorded
    assert len(epochs) == 40
    assert not torch.equal(epochs[0][0].shown, epochs[1][0].shown)
    for batches in epochs:
        labels = torch.cat([batch.hard_labels for batch in batches])
        assert set(labels.unique().tolist()) == {0.0, 1.0}
        assert labels.sum(dim=0).tolist() == [2.0, 2.0, 2.0]


def test_a_longer_training_repeats_the_recorded_epochs(dataset: DistilledDataset) -> None:
    epochs = epochs_of(dataset, num_epochs=25)
    again = [stored_epoch(epoch, num_stored=12, seed=5) for epoch in range(25)]
    assert sorted(again[12:24]) == list(range(12))
    for epoch in (12, 17, 24):
        batches = zip(epochs[epoch], epochs[again[epoch]], strict=True)
        assert all(torch.equal(now.shown, then.shown) for now, then in batches)
