"""Batches of images in tables: each row group is read once a pass, and the batches are those of reading row by row."""

import random
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from rded_core.io.sources.base import Source
from rded_core.io.sources.parquet import rows
from rded_core.io.sources.reading import Reader, read_item, read_together
from rded_core.io.sources.spec import open_source
from rded_core.io.training.real_batches import EvaluationViews, fit_view, labelled_items, training_batches
from rded_core.networks.preprocessing import Preprocessing

GROUP, SIZE = 5, 32


@pytest.fixture
def table(image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns a folder with a shuffled table; of its row groups, one is kept, as of a table far larger than memory."""
    paths = sorted(image_folder.rglob("*.jpg"))
    random.Random(0).shuffle(paths)
    columns = {"image": [path.read_bytes() for path in paths], "label": [path.parent.name for path in paths]}
    (tmp_path / "table").mkdir()
    pq.write_table(pa.table(columns), tmp_path / "table" / "train.parquet", row_group_size=GROUP)
    rows._read_group.cache_clear()
    monkeypatch.setattr(rows, "KEPT_BYTES", 1)
    monkeypatch.setattr(rows._read_group.cache, "_Cache__maxsize", 1)
    return tmp_path / "table"


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Returns a list to which every row group that is read from now on is added."""
    read: list[int] = []
    read_row_group = pq.ParquetFile.read_row_group

    def counting(opened: pq.ParquetFile, group: int, *, columns: list[str]) -> pa.Table:
        read.append(group)
        return read_row_group(opened, group, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counting)
    return read


def epoch_of(source: Source, read: Reader) -> Iterator[Any]:
    return training_batches(
        source, epoch=1, seed=3, size=SIZE, batch_size=7, preprocessing=Preprocessing(), crop_scale_min=0.5, flip=True,
        workers=2, read=read,
    )  # fmt: skip


def num_groups(source: Source) -> int:
    return -(-source.num_items // GROUP)


def test_epochs_of_a_table_read_each_row_group_once(table: Path, groups: list[int], tmp_path: Path) -> None:
    source = open_source(str(table))
    alone = list(epoch_of(source, read_item))
    assert len(groups) > 2 * num_groups(source)
    groups.clear()
    rows._read_group.cache_clear()
    with read_together(chain.from_iterable(source.items), tmp_path / "work") as read:
        together = [list(epoch_of(source, read)) for _ in range(2)]
    assert sorted(groups) == list(range(num_groups(source)))
    for batches in together:
        for (images, targets), (others, same) in zip(batches, alone, strict=True):
            assert torch.equal(images, others)
            assert torch.equal(targets, same)


@pytest.mark.parametrize("kept_bytes", [0, 2**30])
def test_an_evaluation_of_a_table_reads_it_once_in_the_order_stored(
    table: Path, groups: list[int], kept_bytes: int
) -> None:
    source = open_source(str(table))
    views = EvaluationViews(labelled_items(source), size=SIZE, workers=1, kept_bytes=kept_bytes)
    batches = list(views.batches(Preprocessing(), torch.device("cpu"), batch_size=10))
    assert groups == list(range(num_groups(source)))
    stored = sorted(labelled_items(source), key=lambda entry: entry[0].offset)
    assert torch.cat([targets for _, targets in batches]).tolist() == [index for _, index in stored]
    levels = torch.stack([fit_view(read_item(item), SIZE) for item, _ in stored]).mul(255).round().to(torch.uint8)
    shown = torch.cat([images for images, _ in batches])
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (Preprocessing().mean, Preprocessing().std))
    assert torch.equal((shown * std + mean).mul(255).round().to(torch.uint8), levels)
