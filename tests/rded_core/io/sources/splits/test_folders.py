"""Folders of splits by capitals and joined words, and class folders whose names only contain a split's word."""

from pathlib import Path

import pytest

from rded_core.errors import InputError
from rded_core.io.sources.spec import open_source

PAIRS = [
    ("trainA", "testA"), ("Xtrain", "Xtest"), ("imagesTrain", "imagesTest"), ("imagenettrain", "imagenetval"),
    ("trn", "tst"), ("my_trn", "my_val"), ("train-test-split-train", "train-test-split-test"),
    ("test_dataset-train", "test_dataset-val"), ("train_val_a-train", "train_val_a-val"),
]  # fmt: skip


def write_folders(root: Path, *folders: str) -> str:
    for folder in folders:
        (root / folder).mkdir(parents=True)
        (root / folder / "0.jpg").touch()
    return str(root)


def folders(spec: str, split: str = "train") -> list[str]:
    return [label.folder for label in open_source(spec, split=split).classes]


@pytest.mark.parametrize(("train", "val"), PAIRS)
def test_splits_are_found_by_capitals_joined_and_deciding_words(tmp_path: Path, train: str, val: str) -> None:
    root = write_folders(tmp_path, *(f"{name}/{label}" for name in (train, val) for label in ("ant", "bee")))
    for split, name in (("train", train), ("val", val)):
        source = open_source(root, split=split)
        assert [label.folder for label in source.classes] == ["ant", "bee"]
        assert all(f"/{name}/" in item.path for items in source.items for item in items)
        assert not source.passed_over


@pytest.mark.parametrize(("train", "val"), PAIRS)
def test_such_folders_without_class_folders_are_an_error(tmp_path: Path, train: str, val: str) -> None:
    root = write_folders(tmp_path, train, val)
    with pytest.raises(InputError, match=f"/{train} holds images but no class folders, .*; sort them into"):
        open_source(root)


def test_several_flat_folders_of_a_split_are_to_be_sorted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"/trainA holds images but no class folders, .*; sort them into"):
        open_source(write_folders(tmp_path, "trainA", "trainB", "testA", "testB"))


@pytest.mark.parametrize(
    "word",
    [
        "bullet_train",
        "trainer",
        "testarossa",
        "interval",
        "valley",
        "contest",
        "BulletTrain",
        "trainA",
        "Xtrain",
    ],
)
@pytest.mark.parametrize("inner", ["", "/2020"])
def test_a_class_may_contain_a_splits_word(tmp_path: Path, word: str, inner: str) -> None:
    root = write_folders(tmp_path / "beside", f"bus{inner}", f"car{inner}", f"{word}{inner}")
    assert folders(root) == sorted(["bus", "car", word])
    parted = write_folders(
        tmp_path / "in", *(f"{split}/{name}" for split in ("train", "val") for name in ("bus", word))
    )
    assert folders(parted) == folders(parted, "val") == sorted(["bus", word])


@pytest.mark.parametrize(
    "names", [("trainer", "tester"), ("interval", "contest"), ("testarossa", "trainer", "valley"), ("trains", "tests")]
)
@pytest.mark.parametrize("inner", ["", "/2020"])
def test_classes_of_such_words_alone_are_classes(tmp_path: Path, names: tuple[str, ...], inner: str) -> None:
    assert folders(write_folders(tmp_path, *(f"{name}{inner}" for name in names))) == sorted(names)
