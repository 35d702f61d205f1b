"""Training an observer on tables: each row group is read once, and the weights are those of reading row by row."""

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rded_core.config import TrainObserverConfig
from rded_core.io.sources.parquet import gathered, rows
from tasks.training.train_observer import train_observer

NUM_GROUPS = 6


def write_table(images: Path, folder: Path) -> None:
    """Writes the images of class folders as one shuffled table."""
    paths = sorted(images.rglob("*.jpg"))
    random.Random(0).shuffle(paths)
    columns = {"image": [path.read_bytes() for path in paths], "label": [path.parent.name for path in paths]}
    folder.mkdir()
    pq.write_table(pa.table(columns), folder / "train.parquet", row_group_size=len(paths) // NUM_GROUPS)


def test_an_observer_of_a_table_has_the_weights_of_reading_row_by_row(
    shared_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of its row groups, one is kept, as of a table far larger than memory."""
    write_table(shared_source, tmp_path / "table")
    monkeypatch.setattr(rows, "KEPT_BYTES", 1)
    monkeypatch.setattr(rows._read_group.cache, "_Cache__maxsize", 1)
    groups: list[int] = []
    read = pq.ParquetFile.read_row_group

    def counting(table: pq.ParquetFile, group: int, *, columns: list[str]) -> pa.Table:
        groups.append(group)
        return read(table, group, columns=columns)

    def train(name: str) -> bytes:
        out = tmp_path / name
        train_observer.fn(
            TrainObserverConfig(
                source=str(tmp_path / "table"),
                out=str(out),
                arch="convnet3",
                epochs=2,
                size=32,
                batch_size=12,
                device="cpu",
                workers=2,
            )
        )
        return out.read_bytes()

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counting)
    together = train("a.safetensors")
    assert sorted(groups) == list(range(NUM_GROUPS))
    monkeypatch.setattr(gathered, "MAX_SHARE", 0.0)
    assert train("b.safetensors") == together
    assert len(groups) > 3 * NUM_GROUPS
    assert {path.name for path in tmp_path.iterdir()} == {"a.safetensors", "b.safetensors", "table"}
