"""Files of a split: words that all names share, that are joined to others, and names of unlabelled images."""

import io
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rded_core.errors import InputError
from rded_core.io.sources.base import describe_passed_over
from rded_core.io.sources.spec import open_source
from rded_core.io.sources.splits.files import files_of_split

PAIRS = [
    ("train-test-split-train-0", "train-test-split-test-0"), ("training-shards-train-0", "training-shards-val-0"),
    ("train_val_a-train", "train_val_a-val"), ("test_dataset-train-0", "test_dataset-val-0"),
    ("testdata/train-0", "testdata/val-0"), ("training-data/a-train", "training-data/a-val"),
    ("imagenettrain-0", "imagenetval-0"), ("imagenettrain/0", "imagenettest/1"), ("trainA-0", "testA-0"),
    ("trn-0", "tst-0"), ("a_trn", "a_val"), ("imagesTrain/0", "imagesTest/1"), ("a.Train", "a.Val"),
]  # fmt: skip


def write(path: Path) -> None:
    """Writes one image of each of the classes 0 and 1, as a tar or as a table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"image": [b"a", b"b"], "label": [0, 1]}), path)
        return
    with tarfile.open(path, "w") as archive:
        for label in "01":
            for ending, data in (("cls", label.encode()), ("jpg", b"image")):
                info = tarfile.TarInfo(f"{path.stem}{label}.{ending}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))


def read(spec: str, split: str) -> set[str]:
    return {item.path for items in open_source(spec, split=split).items for item in items}


@pytest.mark.parametrize(("train", "val"), PAIRS)
@pytest.mark.parametrize("ending", ["tar", "parquet"])
@pytest.mark.parametrize("more", ["", "extra", "more-0"])
def test_the_word_that_others_have_another_split_in_place_of_decides(
    tmp_path: Path, train: str, val: str, ending: str, more: str
) -> None:
    for name in filter(None, (train, val, more)):
        write(tmp_path / f"{name}.{ending}")
    if more and "/" in train and ending == "tar":
        return  # tars at the top beside splits in folders are an error of their own
    for split, name in (("train", train), ("val", val)):
        assert read(str(tmp_path), split) == {f"{tmp_path}/{name}.{ending}"}
        if ending == "tar":
            assert read(f"{tmp_path}/**/*.tar", split) == {f"{tmp_path}/{name}.tar"}


@pytest.mark.parametrize(
    "names",
    [
        ("train-crash-test-0", "train-car-0"), ("train-crash-test-0", "train-crash-test-1"), ("train-0", "train-1"),
        ("train-crash-test-0", "val-car-0"), ("train-crash-test-0", "val-crash-test-0"), ("trainer-0", "tester-0"),
        ("interval-0", "contest-0", "valley-0"), ("crash-test-train-0", "crash-test-train-1"), ("trainval-0", "test-0"),
    ],
)  # fmt: skip
def test_names_that_were_clear_stay_so(names: tuple[str, ...]) -> None:
    train = [name for name in names if not name.startswith(("val-", "test-"))]
    assert files_of_split(list(names), "train") == train


@pytest.mark.parametrize(
    "names",
    [
        ("training-cats-train-0", "training-dogs-val-0"), ("train-toy-train", "train-crash-test"),
        ("train-a-train", "train-a-val", "val-0"), ("crash-test-train-0", "crash-train-1"),
        ("data/train/crash-test-0", "data/train/car-0"), ("train/crash-test-0", "val/crash-test-0", "train/car-0"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("split", ["train", "val"])
def test_names_that_may_mean_either_split_are_an_error(names: tuple[str, ...], split: str) -> None:
    with pytest.raises(InputError, match=r"names several splits|may be of the split"):
        files_of_split(list(names), split)


@pytest.mark.parametrize("name", ["unsupervised", "unlabeled-0", "my-predictions", "a/extra/0"])
def test_files_of_unlabelled_images_are_no_split(tmp_path: Path, name: str) -> None:
    write(tmp_path / "train.parquet")
    write(tmp_path / f"{name}.parquet")
    source = open_source(str(tmp_path))
    assert describe_passed_over(source) == [f"files that name no split, as others do: 1 (the first: {name}.parquet)"]
    with pytest.raises(InputError, match="no file of the split 'val' among"):
        open_source(str(tmp_path), split="val")


def test_files_of_unlabelled_words_alone_are_read(tmp_path: Path) -> None:
    write(tmp_path / "extra.parquet")
    for split in ("train", "val"):
        assert read(str(tmp_path), split) == {f"{tmp_path}/extra.parquet"}


def test_advice_for_tables_names_no_pattern_of_tars() -> None:
    for names in (["val-0.parquet"], ["toy-train.parquet", "car.parquet"], ["a-train-val.parquet", "b.parquet"]):
        with pytest.raises(InputError, match=r"a folder that holds only them$"):
            files_of_split(names, "train")


def test_capitals_alone_are_not_certain() -> None:
    with pytest.raises(InputError, match=r"TestTube-0\.tar may be of the split 'test', but Car-0\.tar names none"):
        files_of_split(["Car-0.tar", "Boat-0.tar", "TestTube-0.tar"], "train")
