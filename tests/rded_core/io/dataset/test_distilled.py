"""The distilled dataset as students read it: images, recorded batches, and the effects of damage."""

import tarfile
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rded_core.errors import InputError
from rded_core.io.dataset.distilled import DistilledDataset
from rded_core.io.dataset.images import encode_sample, read_images
from rded_core.io.formats.images import encode_image
from rded_core.io.formats.shards import Sample, read_shard, write_shard
from rded_core.io.formats.soft_labels import EPOCHS_PER_FILE, LabelledBatch, write_soft_labels
from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.layout.units import block_name, epoch_blocks
from rded_core.io.sources.base import name_classes
from rded_core.io.storage.atomic import write_json
from rded_core.labels.codecs import HalfCodec
from rded_core.labels.views import ViewRecipe, draw_views

CLASSES = name_classes(("1", "10"))
NUM_EPOCHS = 12


def drawn_images() -> Tensor:
    return torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def samples(images: Tensor) -> list[Sample]:
    return [
        encode_sample(
            f"c{number // 2:05d}_i{number % 2:05d}",
            {"png": encode_image(image, "png", 90)},
            label=CLASSES[number // 2],
            source_uris=[f"{number}.jpg"],
        )
        for number, image in enumerate(images)
    ]


def drawn_batch(epoch: int) -> LabelledBatch:
    generator = torch.Generator().manual_seed(epoch)
    recipe = ViewRecipe(size=8, factor=2, crop_scale_min=0.5, flip=True, mix="cutmix")
    return (
        torch.randperm(4, generator=generator),
        draw_views(recipe, 4, generator),
        {"logits": torch.full((4, 2), epoch).half()},
    )


@pytest.fixture
def folder(tmp_path: Path) -> DatasetFolder:
    """A dataset of two tars of two images and twelve recorded epochs (two files)."""
    dataset = DatasetFolder(tmp_path / "dataset")
    whole = samples(drawn_images())
    write_shard(dataset.images(0), whole[:2])
    write_shard(dataset.images(1), whole[2:])
    write_json(dataset.recipe, {"num_images": 4, "label_epochs": NUM_EPOCHS, "label_codec": "float16"})
    entries = [{"index": c.index, "name": c.name, "wnid": c.wnid, "folder": c.folder} for c in CLASSES]
    write_json(dataset.classes, entries)
    for block in epoch_blocks(NUM_EPOCHS, EPOCHS_PER_FILE):
        write_soft_labels(
            dataset.soft_labels(block_name(block)),
            ((epoch, drawn_batch(epoch)) for epoch in block),
            keys=[key for key, _ in whole],
            class_indices=torch.tensor([0, 0, 1, 1]),
            codec=HalfCodec(2),
            metadata={},
        )
    return dataset


def test_images_are_read_in_shard_order(folder: DatasetFolder) -> None:
    stored = read_images(folder.image_tars())
    assert torch.equal(stored.images, drawn_images())
    assert stored.keys == ["c00000_i00000", "c00000_i00001", "c00001_i00000", "c00001_i00001"]
    assert stored.class_indices.tolist() == [0, 0, 1, 1]


def test_an_opened_dataset_knows_its_classes_and_every_epoch(folder: DatasetFolder) -> None:
    dataset = DistilledDataset(folder)
    assert dataset.classes == CLASSES
    assert (len(dataset), dataset.num_epochs) == (4, NUM_EPOCHS)
    assert dataset.images is dataset.images
    for epoch in range(NUM_EPOCHS):
        ((rows, views, logits),) = dataset.recorded_batches(epoch)
        expected = drawn_batch(epoch)
        assert torch.equal(rows, expected[0])
        assert torch.equal(views.crop_box, expected[1].crop_box)
        assert torch.equal(logits, expected[2]["logits"].float())


@pytest.mark.parametrize("epoch", [-1, NUM_EPOCHS, 1000])
def test_an_epoch_that_was_not_recorded_is_an_error(folder: DatasetFolder, epoch: int) -> None:
    with pytest.raises(InputError, match=rf"epoch {epoch} of .* was not recorded \(the dataset has 12\)"):
        list(DistilledDataset(folder).recorded_batches(epoch))


@pytest.mark.parametrize(("number", "epoch"), [(0, 1), (0, 3), (1, 11)])
def test_a_missing_table_is_an_error_and_never_read_as_another(folder: DatasetFolder, number: int, epoch: int) -> None:
    folder.soft_label_tables()[number].unlink()
    with pytest.raises(InputError):
        list(DistilledDataset(folder).recorded_batches(epoch))


@pytest.mark.parametrize("name", ["recipe.json", "classes.json"])
@pytest.mark.parametrize("text", [None, "{ half", "\xff"])
def test_unreadable_small_files_are_errors(folder: DatasetFolder, name: str, text: str | None) -> None:
    if text is None:
        (folder.root / name).unlink()
    else:
        (folder.root / name).write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=f"{name} cannot be read"):
        DistilledDataset(folder)


def test_a_truncated_tar_is_an_error_wherever_it_is_cut(folder: DatasetFolder) -> None:
    tar = folder.images(1)
    whole = tar.read_bytes()
    with tarfile.open(tar) as archive:
        end = max(member.offset_data + member.size for member in archive)
    unnoticed: list[int] = []
    for cut in range(0, end, 256):
        tar.write_bytes(whole[:cut])
        try:
            read_images(folder.image_tars())
        except InputError as error:
            assert str(tar) in str(error)
        else:
            unnoticed.append(cut)
    assert unnoticed == [], "cuts that lost images without an error"


@pytest.mark.parametrize("problem", ["no cls", "bad cls", "no image", "broken image"])
def test_a_damaged_sample_is_an_error_that_names_the_tar(folder: DatasetFolder, problem: str) -> None:
    (key, files), *rest = read_shard(folder.images(0))
    image, label = files["png"], files["cls"]
    damaged = {
        "no cls": {"png": image},
        "bad cls": {"png": image, "cls": b"one"},
        "no image": {"cls": label, "json": b"{}"},
        "broken image": {"png": image[:60], "cls": label},
    }[problem]
    write_shard(folder.images(0), [(key, damaged), *rest])
    with pytest.raises(InputError, match=r"train-000000\.tar is damaged"):
        read_images(folder.image_tars())


def test_images_of_different_sizes_are_an_error(folder: DatasetFolder) -> None:
    write_shard(folder.images(0), samples(torch.zeros(2, 3, 9, 9, dtype=torch.uint8)))
    with pytest.raises(InputError, match="differs in size from the other images"):
        read_images(folder.image_tars())


def test_a_dataset_without_images_is_an_error() -> None:
    with pytest.raises(InputError, match="holds no images"):
        read_images([])
