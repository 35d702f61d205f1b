"""Rows of shuffled tables: each row group is read once per class shard, in any order of requests."""

import os
import random
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rded_core.io.formats.images import RejectedImage
from rded_core.io.sources.base import SourceItem
from rded_core.io.sources.parquet import gathered, rows
from rded_core.io.sources.reading import read_item, read_together
from rded_core.io.sources.spec import open_source

CLASSES, EACH, GROUP, SIZE = 8, 25, 20, 1000


@pytest.fixture
def shuffled(tmp_path: Path) -> Path:
    """Returns a folder with one table in ten row groups, each with rows of all classes."""
    generator = random.Random(0)
    labels = [number % CLASSES for number in range(CLASSES * EACH)]
    generator.shuffle(labels)
    table = pa.table({"image": [generator.randbytes(SIZE) for _ in labels], "label": labels})
    (tmp_path / "table").mkdir()
    pq.write_table(table, tmp_path / "table" / "train.parquet", row_group_size=GROUP)
    return tmp_path / "table"


@pytest.fixture
def count_bytes(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Returns a function that returns how many bytes of images were read from row groups so far."""
    rows._read_group.cache_clear()
    counted: list[int] = []
    read = pq.ParquetFile.read_row_group

    def counting(table: pq.ParquetFile, group: int, *, columns: list[str]) -> pa.Table:
        found = read(table, group, columns=columns)
        counted.append(found.nbytes)
        return found

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counting)
    return lambda: sum(counted)


def test_a_small_table_is_read_once_class_by_class(shuffled: Path, count_bytes: Callable[[], int]) -> None:
    for items in open_source(str(shuffled)).items:
        assert all(len(read_item(item)) == SIZE for item in items)
    assert count_bytes() < 1.1 * CLASSES * EACH * SIZE


def test_rows_read_together_need_each_group_once(
    shuffled: Path, count_bytes: Callable[[], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a table far larger than what is kept: alone, each class reads every group."""
    monkeypatch.setattr(rows._read_group.cache, "_Cache__maxsize", 1)
    monkeypatch.setattr(rows, "KEPT_BYTES", 1)
    source = open_source(str(shuffled))
    alone = [[read_item(item) for item in items] for items in source.items]
    before = count_bytes()
    assert before > CLASSES * 0.9 * CLASSES * EACH * SIZE
    listed = [item for items in source.items for item in items]
    with read_together(listed, tmp_path / "work") as read:
        assert [[read(item) for item in items] for items in source.items] == alone
    assert count_bytes() - before < 1.1 * CLASSES * EACH * SIZE
    assert not list((tmp_path / "work").iterdir())


def test_items_that_were_not_gathered_are_read_alone(shuffled: Path, image_folder: Path, tmp_path: Path) -> None:
    table, folder = open_source(str(shuffled)), open_source(str(image_folder))
    with read_together([table.items[0][0]], tmp_path / "work") as read:
        assert read(table.items[1][0]) == read_item(table.items[1][0])
        assert read(folder.items[0][0]) == read_item(folder.items[0][0])
    with read_together(folder.items[0], tmp_path / "elsewhere") as read:
        assert read is read_item
    assert not (tmp_path / "elsewhere").exists()


def test_a_table_that_has_vanished_is_missing(shuffled: Path, tmp_path: Path) -> None:
    items = open_source(str(shuffled)).items[0]
    read_item(items[0])
    (shuffled / "train.parquet").unlink()
    with read_together(items, tmp_path / "work") as read, pytest.raises(RejectedImage) as caught:
        read(items[0])
    assert caught.value.reason == "missing"


class FullFile(FileIO):
    """A file that has space for ten images and a half."""

    def write(self, data: Any) -> int:
        return super().write(data[: max(10 * SIZE + SIZE // 2 - os.fstat(self.fileno()).st_size, 0)])


def test_a_full_disk_gets_its_space_back(shuffled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written in the block may need the space that gathered rows took."""
    items = [item for items in open_source(str(shuffled)).items for item in items]
    held = tmp_path / "held"
    monkeypatch.setattr(gathered, "TemporaryFile", lambda **_: FullFile(held, "w+"))
    with gathered.gather_rows(items, tmp_path / "work") as found:
        assert held.stat().st_size == 0
        assert [found.read(item) for item in items] == [None] * len(items)
    with read_together(items, tmp_path / "work") as read:
        assert len(read(items[0])) == SIZE


def test_rows_that_would_fill_the_disk_are_not_held(
    shuffled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The size of all rows is known from those of the first group, before much is written."""
    items = [item for items in open_source(str(shuffled)).items for item in items]
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    for times, is_held in ((2, True), (0.5, False)):
        monkeypatch.setattr(gathered, "MAX_SHARE", times * CLASSES * EACH * SIZE / free)
        caplog.clear()
        with gathered.gather_rows(items, tmp_path / "work") as found:
            assert all((found.read(item) is not None) is is_held for item in items)
        assert ("are read one by one, which may be slow: no copy in" in caplog.text) is not is_held


def test_a_row_without_bytes_stays_empty(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b"one", None, b"two"], "label": [0, 0, 1]}), tmp_path / "a.parquet")
    items = open_source(str(tmp_path)).items[0]
    with read_together(items, tmp_path / "work") as read:
        assert [read(item) for item in items] == [b"one", b""]


def test_a_table_written_again_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": [b"one", b"two"], "label": [0, 1]}), path)
    item = SourceItem("a.parquet#00000000", str(path))
    assert read_item(item) == b"one"
    pq.write_table(pa.table({"image": [b"three", b"two"], "label": [0, 1]}), path)
    assert read_item(item) == b"three"
