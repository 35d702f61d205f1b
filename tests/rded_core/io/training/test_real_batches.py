"""Evaluation views: the same whether kept or decoded again, with valid and with damaged images."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from rded_core.errors import InputError
from rded_core.io.sources.reading import read_item
from rded_core.io.sources.spec import open_source
from rded_core.io.training import real_batches as batches_module
from rded_core.io.training.real_batches import EvaluationViews, LabelledItem, fit_view, labelled_items, training_batches
from rded_core.networks.preprocessing import Preprocessing
from rded_core.patches.crops import normalise

CPU = torch.device("cpu")
SIZE = 32


@pytest.fixture
def items(image_folder: Path) -> list[LabelledItem]:
    return labelled_items(open_source(str(image_folder)))


def look(views: EvaluationViews, batch_size: int = 10) -> tuple[list[int], Tensor, Tensor]:
    batches = list(views.batches(Preprocessing(), CPU, batch_size=batch_size))
    images, targets = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return [len(part) for _, part in batches], images, targets


def counting(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Returns a list to which the key of every image read from now on is added."""
    read: list[str] = []
    monkeypatch.setattr(batches_module, "read_item", lambda item: (read.append(item.key), read_item(item))[1])
    return read


def test_views_are_the_fitted_images_rounded_to_8_bits(items: list[LabelledItem]) -> None:
    sizes, images, targets = look(EvaluationViews(items, size=SIZE, workers=2))
    assert sizes == [10, 10, 10, 6]
    assert targets.tolist() == [index for _, index in items]
    levels = torch.stack([fit_view(read_item(item), SIZE) for item, _ in items]).mul(255).round() / 255
    torch.testing.assert_close(images, normalise(levels, Preprocessing().mean, Preprocessing().std), rtol=0, atol=1e-6)


def test_views_that_fit_are_decoded_once_and_others_each_time(
    items: list[LabelledItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = len(items) * 3 * SIZE * SIZE
    kept = EvaluationViews(items, size=SIZE, workers=2, kept_bytes=needed)
    not_kept = EvaluationViews(items, size=SIZE, workers=2, kept_bytes=needed - 1)
    read = counting(monkeypatch)
    first, again = look(kept), look(kept)
    assert len(read) == len(items)
    other, last = look(not_kept), look(not_kept)
    assert len(read) == 3 * len(items)
    for sizes, images, targets in (again, other, last):
        assert sizes == first[0]
        assert torch.equal(images, first[1])
        assert torch.equal(targets, first[2])


@pytest.mark.parametrize("kept_bytes", [0, 2**30])
def test_damaged_images_are_skipped_whether_kept_or_not(
    items: list[LabelledItem], kept_bytes: int, caplog: pytest.LogCaptureFixture
) -> None:
    for item, _ in items[3:5]:
        Path(item.path).write_bytes(b"no image")
    views = EvaluationViews(items, size=SIZE, workers=2, kept_bytes=kept_bytes)
    _, images, targets = look(views)
    assert "skipped rejected images: 2 not_an_image" in caplog.text
    whole = [entry for entry in items if entry not in items[3:5]]
    assert targets.tolist() == [index for _, index in whole]
    assert torch.equal(images, look(EvaluationViews(whole, size=SIZE, workers=1))[1])


@pytest.mark.parametrize("kept_bytes", [0, 2**30])
def test_a_source_without_usable_images_gives_no_batches(items: list[LabelledItem], kept_bytes: int) -> None:
    Path(items[0][0].path).write_bytes(b"")
    views = EvaluationViews(items[:1], size=SIZE, workers=1, kept_bytes=kept_bytes)
    assert list(views.batches(Preprocessing(), CPU)) == []


def test_a_class_that_loses_all_its_images_stops_the_training(image_folder: Path) -> None:
    source = open_source(str(image_folder))
    for item in source.items[1]:
        Path(item.path).write_bytes(b"no image")
    batches = training_batches(
        source, epoch=0, seed=0, size=SIZE, batch_size=10, preprocessing=Preprocessing(), crop_scale_min=1.0, flip=True,
        workers=2,
    )  # fmt: skip
    message = rf"no image of class '10' can be used \(of the source: {len(source.items[1])} not_an_image\); replace"
    with pytest.raises(InputError, match=message):
        list(batches)


def test_a_class_without_usable_images_to_measure_on_is_a_warning(
    items: list[LabelledItem], caplog: pytest.LogCaptureFixture
) -> None:
    for item, index in items:
        if index == 1:
            Path(item.path).write_bytes(b"no image")
    look(EvaluationViews(items, size=SIZE, workers=2))
    assert "not_an_image; none is left of 1 class" in caplog.text
