"""Folders of splits: words that are joined to a split's, and folders of images without classes beside the splits."""

from pathlib import Path

import pytest

from rded_core.errors import InputError
from rded_core.io.sources.base import Source, describe_passed_over
from rded_core.io.sources.spec import open_source

JOINED = [
    ("trainset", "testset"), ("trainingSet", "testSet"), ("TrainingSet", "ValidationSet"), ("traindata", "testdata"),
    ("trainimages", "testimages"), ("train_data", "test_data"), ("train_images", "test_images"),
    ("trainset", "valset"), ("trainset2017", "valset2017"), ("my_trainset", "my_testset"), ("trainset", "test"),
]  # fmt: skip


def write_folders(root: Path, *folders: str) -> Path:
    """Writes an empty image into each folder."""
    for folder in folders:
        (root / folder).mkdir(parents=True)
        (root / folder / f"{folder.replace('/', '_')}.jpg").touch()
    return root


def folders(source: Source) -> list[str]:
    return [label.folder for label in source.classes]


@pytest.mark.parametrize(("train", "val"), JOINED)
def test_words_joined_to_a_split_name_it(tmp_path: Path, train: str, val: str) -> None:
    root = str(write_folders(tmp_path, *(f"{name}/{label}" for name in (train, val) for label in ("ant", "bee"))))
    for split, name in (("train", train), ("val", val)):
        source = open_source(root, split=split)
        assert folders(source) == ["ant", "bee"]
        assert all(f"/{name}/" in item.path for items in source.items for item in items)


@pytest.mark.parametrize(("train", "val"), [*JOINED, ("train2017", "val2017"), ("seg_train", "seg_test")])
def test_flat_folders_of_both_splits_are_no_classes(tmp_path: Path, train: str, val: str) -> None:
    root = str(write_folders(tmp_path, train, val))
    for split, name in (("train", train), ("val", val)):
        with pytest.raises(InputError, match=f"/{name} holds images but no class folders, .*; sort them into"):
            open_source(root, split=split)


@pytest.mark.parametrize("word", ["trainset", "testset", "train_data", "testimages", "extra", "pred", "unlabeled"])
@pytest.mark.parametrize("others", [("bus", "car"), ("bus",)])
def test_a_class_may_be_called_like_them(tmp_path: Path, word: str, others: tuple[str, ...]) -> None:
    assert folders(open_source(str(write_folders(tmp_path, *others, word)))) == sorted([*others, word])


def test_classes_of_numbered_names_stay_classes(tmp_path: Path) -> None:
    assert folders(open_source(str(write_folders(tmp_path, "train1", "train2")))) == ["train1", "train2"]


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (
            ("trainset/a", "car/a"),
            r"holds splits \(trainset\) and other folders \(car\).*rename trainset if it is a class",
        ),
        (
            ("train/a", "trainset/a"),
            r"train, trainset could be its train split; give the one you mean, e\.g\. .*/train",
        ),
        (("train/a", "training/a"), r"train, training could be its train split"),
        (("bullet_train/2019", "test_images/2020"), r"bullet_train and test_images may be splits or classes"),
        (("seg_train", "seg_pred"), r"/seg_train holds images but no class folders"),
        (("train", "unlabeled"), r"/train holds images but no class folders"),
        (("train/a", "train/b", "extra/a"), r"holds splits \(train\) and other folders \(extra\)"),
        (
            ("bullet_train/2019", "bullet_train/2020", "extra"),
            r"other folders \(extra\).*; give .*/bullet_train, or ren",
        ),
    ],
)
def test_what_may_be_a_split_or_a_class_is_an_error(tmp_path: Path, tree: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_source(str(write_folders(tmp_path, *tree)))


@pytest.mark.parametrize("word", ["pred", "predict", "unlabeled", "unlabelled", "extra"])
@pytest.mark.parametrize(
    ("train", "val"), [("seg_train", "seg_test"), ("seg_train", ""), ("train", "val"), ("train", ""), ("trainset", "")]
)
@pytest.mark.parametrize("inner", ["", "same"])
def test_images_without_classes_beside_a_split_are_counted(
    tmp_path: Path, train: str, val: str, word: str, inner: str
) -> None:
    pred = f"seg_{word}" if train == "seg_train" else word
    deep = f"{pred}/{pred}" if inner else pred
    root = write_folders(tmp_path, *(f"{name}/{label}" for name in (train, val) if name for label in "ab"), deep)
    source = open_source(str(root))
    assert folders(source) == ["a", "b"]
    assert describe_passed_over(source) == [
        f"images without classes, in folders beside the splits: 1 (the first: {deep}/{deep.replace('/', '_')}.jpg)"
    ]
    assert describe_passed_over(open_source(str(root / train))) == []


@pytest.mark.parametrize("alone", ["seg_train", "seg_test"])
def test_images_without_classes_beside_a_repeated_split_folder_are_counted(tmp_path: Path, alone: str) -> None:
    """Intel's images: ``seg_pred`` holds pictures without classes, and was a class itself."""
    write_folders(tmp_path, *(f"{alone}/{alone}/{label}" for label in ("ant", "bee")), "seg_pred/seg_pred")
    source = open_source(str(tmp_path), split="train" if alone == "seg_train" else "val")
    assert folders(source) == ["ant", "bee"]
    assert [entry.first for entry in source.passed_over] == ["seg_pred/seg_pred/seg_pred_seg_pred.jpg"]
    with pytest.raises(InputError, match=rf"holds the splits {alone} but no"):
        open_source(str(tmp_path), split="val" if alone == "seg_train" else "train")


def test_other_folders_beside_a_repeated_split_folder_are_an_error(tmp_path: Path) -> None:
    write_folders(tmp_path, "seg_train/seg_train/ant", "seg_train/seg_train/bee", "seg_more/seg_more")
    with pytest.raises(InputError, match=r"holds splits \(seg_train\) and other folders \(seg_more\)"):
        open_source(str(tmp_path))


def test_classes_in_folders_of_their_own_name_are_classes(tmp_path: Path) -> None:
    root = write_folders(tmp_path, *(f"{name}/{name}" for name in ("bus", "car", "train")))
    assert folders(open_source(str(root))) == ["bus", "car", "train"]
