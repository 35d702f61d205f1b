"""Folders of Parquet files: Hive partitions, and configurations that hold the same images again."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rded_core.errors import InputError
from rded_core.io.sources.spec import open_source


def write(path: Path, labels: list[int] | None = None) -> None:
    """Writes two images; without labels, the column is left out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"image": [b"one", b"two"]}
    pq.write_table(pa.table(columns if labels is None else {**columns, "label": labels}), path)


def keys(root: Path, split: str = "train") -> dict[str, list[str]]:
    source = open_source(str(root), split=split)
    return {
        label.folder: [item.key for item in items] for label, items in zip(source.classes, source.items, strict=True)
    }


@pytest.mark.parametrize("folders", [("cat", "dog"), ("2", "10"), ("a b", "test"), ("my-train", "val")])
def test_labels_may_be_partitions(tmp_path: Path, folders: tuple[str, str]) -> None:
    for folder in folders:
        write(tmp_path / f"label={folder.replace(' ', '%20')}" / "part-0.parquet")
    found = keys(tmp_path)
    assert list(found) == list(folders)
    assert all(len(names) == 2 for names in found.values())


def test_rows_of_the_missing_partition_have_no_label(tmp_path: Path) -> None:
    for folder in ("cat", "dog", "__HIVE_DEFAULT_PARTITION__"):
        write(tmp_path / f"label={folder}" / "part-0.parquet")
    assert list(keys(tmp_path)) == ["cat", "dog"]
    assert open_source(str(tmp_path)).num_ignored_files == 2


def test_pyarrows_own_partitions_are_read(tmp_path: Path) -> None:
    table = pa.table({"image": [b"1", b"2", b"3"], "label": ["cat", "dog", "cat"], "split": ["train", "train", "test"]})
    pq.write_to_dataset(table, tmp_path, partition_cols=["split", "label"])
    assert {name: len(found) for name, found in keys(tmp_path).items()} == {"cat": 1, "dog": 1}


@pytest.mark.parametrize("val", ["val", "validation", "test"])
def test_splits_may_be_partitions(tmp_path: Path, val: str) -> None:
    write(tmp_path / "split=train" / "0.parquet", [0, 1])
    write(tmp_path / f"split={val}" / "0.parquet", [0, 1])
    assert keys(tmp_path) == {"0": ["split=train/0.parquet#00000000"], "1": ["split=train/0.parquet#00000001"]}
    assert keys(tmp_path, "val")["0"] == [f"split={val}/0.parquet#00000000"]


@pytest.mark.parametrize("column", ["partition", "subset", "fold", "set", "usage", "made_up"])
def test_other_columns_may_hold_splits(tmp_path: Path, column: str) -> None:
    for value in ("train", "val"):
        write(tmp_path / f"{column}={value}" / "0.parquet", [0, 1])
    for split in ("train", "val"):
        assert keys(tmp_path, split)["0"] == [f"{column}={split}/0.parquet#00000000"]


def test_a_split_beside_other_values_counts_in_a_usual_column(tmp_path: Path) -> None:
    for value in ("train", "holdout"):
        write(tmp_path / f"subset={value}" / "0.parquet", [0, 1])
        write(tmp_path / "other" / f"kind={value}" / "0.parquet", [0, 1])
    assert keys(tmp_path)["0"] == ["subset=train/0.parquet#00000000"]
    assert [len(found) for found in keys(tmp_path / "other").values()] == [2, 2]


@pytest.mark.parametrize("values", [("0", "1"), ("cat", "train"), ("2020", "2021")])
def test_columns_of_other_values_name_no_split(tmp_path: Path, values: tuple[str, str]) -> None:
    for value in values:
        write(tmp_path / f"kind={value}" / "0.parquet", [0, 1])
    assert [len(found) for found in keys(tmp_path).values()] == [2, 2]


@pytest.mark.parametrize(
    ("files", "one"),
    [
        (("full_size/train-0.parquet", "160px/train-0.parquet"), "160px"),
        (("default/train/0000.parquet", "en/train/0000.parquet"), "default"),
        (("data/train-0.parquet", "320px/train-0.parquet"), "320px"),
        (("imagenette-160px/imagenette-train.parquet", "imagewoof-160px/imagenette-train.parquet"), "imagenette-160px"),
        (("64/0.parquet", "128/0.parquet"), "128"),
        (("small/0.parquet", "large/0.parquet"), "large"),
        (("en/train-00000-of-00002.parquet", "full/train-00000-of-00003.parquet"), "full"),
        (("en/train-00000-of-00002.parquet", "de/train-00000-of-00003.parquet"), "de"),
        (("data/train-00000-of-00001.parquet", "augmented/train-00000-of-00001.parquet"), "augmented"),
        (("train-small-0.parquet", "train-large-0.parquet"), ""),
        (("images_64x64.parquet", "images_32x32.parquet"), ""),
        (("size_32/0.parquet", "size_64/0.parquet"), "size_32"),
        (("res64/train-0.parquet", "res128/train-0.parquet"), "res128"),
        (("px64/train/0.parquet", "px128/train/0.parquet"), "px128"),
        (("data/train-0.parquet", "res64/train-0.parquet"), "res64"),
        (("64pixels/0.parquet", "128pixels/0.parquet"), "128pixels"),
        (("img-64/0.parquet", "img-128/0.parquet"), "img-128"),
        (("imagenet64/train-0.parquet", "imagenet128/train-0.parquet"), "imagenet128"),
        (("imagenet/train-0.parquet", "imagenet64/train-0.parquet"), "imagenet"),
        (("imagenette2-160/train-0.parquet", "imagenette2/train-0.parquet"), "imagenette2"),
        (("train_32/0.parquet", "train_64/0.parquet"), "train_32"),
        (("set/img64/0.parquet", "set/img96/0.parquet"), "set/img64"),
        (("train_res64.parquet", "train_res128.parquet"), ""),
        (("train-size-32-0.parquet", "train-size-64-0.parquet"), ""),
        (("imagenet64-train-0.parquet", "imagenet128-train-0.parquet"), ""),
    ],
)
def test_configurations_are_not_mixed(tmp_path: Path, files: tuple[str, str], one: str) -> None:
    for file in files:
        write(tmp_path / file, [0, 1])
    remedy = (
        f"give one of them: {tmp_path}/{one}, or move" if one else "move each into a folder of its own and give one"
    )
    with pytest.raises(InputError, match=f"holds several configurations .*; {remedy}"):
        open_source(str(tmp_path))
    if one:
        assert len(keys(tmp_path / one)) == 2


@pytest.mark.parametrize(
    "files",
    [
        ("a.parquet", "b.parquet"),
        ("train-00000-of-00002.parquet", "train-00001-of-00002.parquet"),
        ("train-00000-of-00002-3fe1a.parquet", "train-00001-of-00002-9c0d1.parquet"),
        ("data/chunk-000/file-000.parquet", "data/chunk-001/file-000.parquet"),
        ("train/0/0.parquet", "train/1/0.parquet"),
        ("part1/x.parquet", "part2/x.parquet"),
        ("train-00000.parquet", "data/train-00001.parquet"),
        ("default/train/0000.parquet", "default/train/0001.parquet"),
        ("2024-01-01/0.parquet", "2024-01-02/0.parquet"),
        ("2024-01-01/train-0.parquet", "2024-02-01/train-0.parquet"),
        ("2/0.parquet", "3/0.parquet"),
        ("00000/0.parquet", "00003/0.parquet"),
        ("worker0/train-0.parquet", "worker1/train-0.parquet"),
        ("rank-0/0.parquet", "rank-1/0.parquet"),
        ("cats/0.parquet", "dogs/0.parquet"),
        ("train/cats/0.parquet", "train/dogs/0.parquet"),
        ("train-cats.parquet", "train-dogs.parquet"),
        ("large-cats/0.parquet", "small-dogs/0.parquet"),
        ("train-0.parquet", "more/train-1.parquet"),
        ("part-0/0.parquet", "part-64/0.parquet"),
        ("chunk_64/0.parquet", "chunk_128/0.parquet"),
        ("shard64/0.parquet", "shard128/0.parquet"),
        ("shard128.parquet", "shard256.parquet"),
        ("train-64.parquet", "train-128.parquet"),
        ("fold1/0.parquet", "fold2/0.parquet"),
        ("fold32/0.parquet", "fold64/0.parquet"),
        ("year2019/0.parquet", "year2020/0.parquet"),
        ("photos2019/0.parquet", "photos2020/0.parquet"),
        ("2024-w28/0.parquet", "2024-w32/0.parquet"),
        ("photos-1/0.parquet", "photos-64/0.parquet"),
        ("subject_28/0.parquet", "subject_32/0.parquet"),
        ("res-0.parquet", "res-64.parquet"),
        ("res-00064.parquet", "res-00128.parquet"),
        ("10p/0.parquet", "20p/0.parquet"),
        ("2x2/0.parquet", "2x4/0.parquet"),
    ],
)
def test_parts_of_one_table_are_read_together(tmp_path: Path, files: tuple[str, str]) -> None:
    for file in files:
        write(tmp_path / file, [0, 1])
    assert {name: len(found) for name, found in keys(tmp_path).items()} == {"0": 2, "1": 2}


def test_other_splits_of_another_configuration_do_not_matter(tmp_path: Path) -> None:
    write(tmp_path / "en" / "train-0.parquet", [0, 1])
    write(tmp_path / "en" / "test-0.parquet", [0, 1])
    assert keys(tmp_path)["0"] == ["en/train-0.parquet#00000000"]
