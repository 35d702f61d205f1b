"""Image folders that hold the same classes at several sizes are an error; classes called like sizes are not."""

from pathlib import Path

import pytest

from rded_core.errors import InputError
from rded_core.io.sources.spec import open_source


def write_folders(root: Path, *folders: str) -> str:
    """Writes an empty image into each folder."""
    for folder in folders:
        (root / folder).mkdir(parents=True)
        (root / folder / "0.jpg").touch()
    return str(root)


def folders(spec: str) -> list[str]:
    return [label.folder for label in open_source(spec).classes]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("160px", "320px"), ("160px", "full_size"), ("32x32", "64x64"), ("res128", "res64"), ("size_32", "size_64"),
        ("imagenet128", "imagenet64"), ("img-128", "img-64"), ("imagenette2", "imagenette2-160"), ("128", "64"),
        ("160px", "images"), ("480p", "720p"), ("128x128", "original"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("inner", ["", "train/", "set/deep/"])
def test_the_same_folders_at_several_sizes_are_an_error(tmp_path: Path, one: str, other: str, inner: str) -> None:
    root = write_folders(tmp_path, *(f"{top}/{inner}{label}" for top in (one, other) for label in ("cat", "dog")))
    message = (
        rf"holds {one}, {other} with subfolders of the same names.*; give one of them, e\.g\. {root}/{one}, or rename"
    )
    with pytest.raises(InputError, match=message):
        open_source(root)
    if inner != "set/deep/":
        assert folders(f"{root}/{one}") == ["cat", "dog"]


def test_sizes_within_a_split_are_an_error(tmp_path: Path) -> None:
    tops = [f"{split}/{size}" for split in ("train", "val") for size in ("160px", "320px")]
    root = write_folders(tmp_path, *(f"{top}/{label}" for top in tops for label in ("cat", "dog")))
    with pytest.raises(InputError, match=rf"{root}/train holds 160px, 320px .*, e\.g\. {root}/train/160px"):
        open_source(root)


@pytest.mark.parametrize("sizes", [("large", "small"), ("full", "tiny")])
def test_words_of_size_that_hold_splits_are_an_error(tmp_path: Path, sizes: tuple[str, str]) -> None:
    root = write_folders(tmp_path, *(f"{size}/{split}/cat" for size in sizes for split in ("train", "val")))
    with pytest.raises(InputError, match=rf"holds {sizes[0]}, {sizes[1]} with subfolders of the same names"):
        open_source(root)


@pytest.mark.parametrize(
    "sizes",
    [("hr", "lr"), ("x2", "x4"), ("2x", "4x"), ("large", "small"), ("HR", "LR_x4"), ("images_large", "images_small")],
)
@pytest.mark.parametrize("prefix", ["", "train/"])
def test_relative_sizes_that_share_classes_are_an_error(tmp_path: Path, sizes: tuple[str, ...], prefix: str) -> None:
    labels = ("cat", "dog")
    root = write_folders(tmp_path, *(f"{prefix}{size}/{label}" for size in sizes for label in labels))
    message = rf"holds {sizes[0]}, {sizes[1]} with subfolders of the same names.* e\.g\. .*/{sizes[0]}, or rename them"
    with pytest.raises(InputError, match=message):
        open_source(root)
    assert folders(f"{root}/{prefix}{sizes[0]}") == ["cat", "dog"]


@pytest.mark.parametrize("tops", [("cat", "dog"), ("large", "small"), ("x2", "x4")])
@pytest.mark.parametrize(
    "inner", [("2020", "2021"), ("front", "back"), ("left_side", "right_side"), ("images",), ("day", "night")]
)
def test_classes_may_share_years_and_views(tmp_path: Path, tops: tuple[str, ...], inner: tuple[str, ...]) -> None:
    assert folders(write_folders(tmp_path, *(f"{top}/{name}" for top in tops for name in inner))) == list(tops)


@pytest.mark.parametrize("inner", [("red", "blue"), ("train", "test"), ("a", "b", "c")])
def test_folders_of_other_names_may_share_subfolders(tmp_path: Path, inner: tuple[str, ...]) -> None:
    assert folders(write_folders(tmp_path, *(f"{top}/{name}" for top in ("cat", "dog") for name in inner))) == [
        "cat", "dog",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "tree",
    [
        ("10p", "20p"), ("160px", "320px"), ("160px", "cat", "dog"), ("32x32", "64x64"), ("128", "64"),
        ("10p/2020", "20p/2020"), ("2x2/red", "2x4/red"), ("large/left", "small/left"), ("large", "small"),
        ("160px/a", "320px/b"), ("160px", "160px/more", "320px/more"), ("a320/left", "a330/left"),
        ("fold32/x", "fold64/x"), ("1/x", "64/x"), ("cat/original", "dog/original"), ("day28/x", "day32/x"),
        ("hr/cat", "lr/dog"), ("hr", "lr"), ("hr/a", "hr/b", "lr/b", "lr/c"),
    ],
)  # fmt: skip
def test_classes_may_be_called_like_sizes(tmp_path: Path, tree: tuple[str, ...]) -> None:
    assert folders(write_folders(tmp_path, *tree)) == sorted({name.split("/")[0] for name in tree})
