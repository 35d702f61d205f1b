"""Splits: words in the names of tars, tables and folders, and classes that are called like splits."""

import io
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rded_core.errors import InputError
from rded_core.io.sources.base import Source, describe_passed_over
from rded_core.io.sources.spec import open_source
from rded_core.io.sources.splits.files import files_of_split
from rded_core.io.sources.splits.words import split_words


def write_tar(path: Path, tag: str) -> None:
    """Writes one sample of each of the classes 0 and 1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for label in "01":
            for ending, data in (("cls", label.encode()), ("jpg", b"image")):
                info = tarfile.TarInfo(f"{tag}{label}.{ending}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))


def write_table(path: Path, tag: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": [tag.encode(), tag.encode()], "label": [0, 1]}), path)


def write_folders(root: Path, *folders: str) -> Path:
    for folder in folders:
        (root / folder).mkdir(parents=True)
        (root / folder / f"{folder.replace('/', '_')}.jpg").touch()
    return root


def folders(source: Source) -> list[str]:
    return [label.folder for label in source.classes]


def files(source: Source) -> set[str]:
    return {Path(item.path).name for items in source.items for item in items}


def open_both(spec: Path | str) -> tuple[set[str], set[str]]:
    return files(open_source(str(spec))), files(open_source(str(spec), split="val"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("imagenet1k-train-0000.tar", {"train"}), ("cifar10-train", {"train"}), ("seg_test", {"test"}),
        ("train2017", {"train"}), ("x.Validation.3.parquet", {"validation"}), ("partial-train", {"train"}),
        ("my train", {"train"}), ("trainers", set()), ("trainSet", {"train"}), ("trainset2017", {"train"}),
        ("x_testdata", {"test"}), ("validationset", {"validation"}), ("sunset", set()),
        ("constraint", set()), ("rtest", set()), ("value", set()),
    ],
)  # fmt: skip
def test_split_words_are_separated_parts_of_names(name: str, words: set[str]) -> None:
    assert split_words(name) == words


NAMES = [
    ("imagenet1k-train-0000", "imagenet1k-validation-00"), ("cifar10_train", "cifar10_test"),
    ("a.train.0", "a.val.0"), ("train2017", "val2017"), ("train/0", "val/0"), ("cifar10-train/0", "cifar10-test/1"),
    ("crash-test-train-0", "crash-test-val-0"), ("data/train/crash-test-0", "data/val/crash-test-1"),
]  # fmt: skip


@pytest.mark.parametrize("ending", ["tar", "parquet"])
@pytest.mark.parametrize(("train", "val"), NAMES)
def test_tars_and_tables_of_a_split_are_found_by_any_part_of_their_names(
    tmp_path: Path, train: str, val: str, ending: str
) -> None:
    write = write_tar if ending == "tar" else write_table
    write(tmp_path / f"{train}.{ending}", "t")
    write(tmp_path / f"{val}.{ending}", "v")
    found = [
        {item.path for items in open_source(str(tmp_path), split=split).items for item in items}
        for split in ("train", "val")
    ]
    assert found == [{f"{tmp_path}/{train}.{ending}"}, {f"{tmp_path}/{val}.{ending}"}]


def test_a_glob_that_matches_both_splits_means_one_of_them(tmp_path: Path) -> None:
    for name in ("x-train-0.tar", "x-train-1.tar", "x-val-0.tar"):
        write_tar(tmp_path / name, Path(name).stem)
    assert open_both(f"{tmp_path}/*.tar") == ({"x-train-0.tar", "x-train-1.tar"}, {"x-val-0.tar"})
    explicit = f"{tmp_path}/x-{{train,val}}-0.tar"
    assert open_both(explicit) == ({"x-train-0.tar", "x-val-0.tar"},) * 2
    assert open_both(f"{tmp_path}/x-val-*.tar") == ({"x-val-0.tar"},) * 2


def test_a_glob_over_split_folders_means_one_of_them(tmp_path: Path) -> None:
    write_tar(tmp_path / "train" / "0.tar", "t")
    write_tar(tmp_path / "val" / "1.tar", "v")
    assert open_both(f"{tmp_path}/*/*.tar") == ({"0.tar"}, {"1.tar"})
    assert files(open_source(str(tmp_path / "train"), split="val")) == {"0.tar"}, "named directly"


def test_brackets_in_a_folder_that_exists_are_no_pattern(tmp_path: Path) -> None:
    write_tar(tmp_path / "photos [2024]" / "0.tar", "t")
    assert files(open_source(f"{tmp_path}/photos [2024]/*.tar")) == {"0.tar"}
    assert files(open_source(f"{tmp_path}/photos [2024]/0.tar")) == {"0.tar"}


@pytest.mark.parametrize("name", ["imagenet1k-validation-00.tar", "cifar10_test.tar", "val2017/0.tar"])
def test_files_of_one_split_are_not_taken_for_the_other(tmp_path: Path, name: str) -> None:
    write_tar(tmp_path / name, "v")
    with pytest.raises(InputError, match=r"no file of the split 'train' among .*; name files or folders after it, or"):
        open_source(str(tmp_path))
    assert files(open_source(f"{tmp_path}/{name}")) == {Path(name).name}


def test_a_name_with_words_of_both_splits_is_an_error() -> None:
    with pytest.raises(InputError, match=r"a-train-val\.tar names several splits \(train, val\); name files"):
        files_of_split(["a-train-val.tar", "b.tar"], "train")


def test_words_that_mean_one_split_are_read_together() -> None:
    names = ["train-0.tar", "training-1.tar", "trainset-2.tar", "val-0.tar", "validation-1.tar", "test-0.tar"]
    assert files_of_split(names, "train") == names[:3]
    assert files_of_split(names, "val") == names[3:5]
    assert files_of_split([names[0], names[5]], "val") == names[5:]


def test_files_that_name_no_split_are_counted_if_others_do(tmp_path: Path) -> None:
    for name in ("x-train-0.tar", "x-extra-0.tar", "x-val-0.tar"):
        write_tar(tmp_path / name, Path(name).stem)
    source = open_source(str(tmp_path))
    assert files(source) == {"x-train-0.tar"}
    assert describe_passed_over(source) == ["files that name no split, as others do: 1 (the first: x-extra-0.tar)"]


def test_tars_at_the_top_go_before_those_in_folders(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", "a")
    write_tar(tmp_path / "old" / "1.tar", "a")
    source = open_source(str(tmp_path))
    assert files(source) == {"0.tar"}
    assert describe_passed_over(source) == ["tars in folders, beside tars at the top: 1 (the first: old/1.tar)"]


def test_tars_at_the_top_do_not_hide_splits_in_folders(tmp_path: Path) -> None:
    write_tar(tmp_path / "sample.tar", "s")
    for number in range(3):
        write_tar(tmp_path / "train" / f"{number}.tar", str(number))
    with pytest.raises(
        InputError, match=r"sample\.tar at its top and splits in folders \(train/0\.tar\).*; give .*/train"
    ):
        open_source(str(tmp_path))
    assert open_source(f"{tmp_path}/train").num_items == 6
    assert files(open_source(f"{tmp_path}/*.tar")) == {"sample.tar"}


def test_tables_beside_tars_are_counted(tmp_path: Path) -> None:
    write_tar(tmp_path / "00000.tar", "t")
    for name in ("00000", "more/1"):
        write_table(tmp_path / f"{name}.parquet", "x")
    source = open_source(str(tmp_path))
    assert files(source) == {"00000.tar"}
    assert describe_passed_over(source) == ["Parquet files, beside tars: 2 (the first: 00000.parquet)"]
    assert source.num_ignored_files == 2


@pytest.mark.parametrize("ending", ["tar", "parquet"])
@pytest.mark.parametrize("names", [("steam-train", "toy-train", "car", "bus"), ("crash-test", "car"), ("a/b_val", "c")])
@pytest.mark.parametrize("split", ["train", "val"])
def test_files_called_like_one_split_beside_others_are_an_error(
    tmp_path: Path, names: tuple[str, ...], ending: str, split: str
) -> None:
    for name in names:
        (write_tar if ending == "tar" else write_table)(tmp_path / f"{name.replace('a/', '')}.{ending}", name)
    with pytest.raises(InputError, match=r"may be of the split .*, but .* names none, .*; name all after .*, or give"):
        open_source(str(tmp_path), split=split)
    if ending == "tar":
        assert len(files(open_source(f"{tmp_path}/*.tar", split=split))) == len(names)


def test_names_that_begin_with_one_split_are_that_split(tmp_path: Path) -> None:
    for name in ("train2017-0.tar", "more.tar"):
        write_tar(tmp_path / name, Path(name).stem)
    assert files(open_source(str(tmp_path))) == {"train2017-0.tar"}


@pytest.mark.parametrize(
    ("train", "val"),
    [("train2017", "val2017"), ("seg_train", "seg_test"), ("cifar10-train", "cifar10-val"), ("a.train", "a.valid")],
)
@pytest.mark.parametrize("repeated", [False, True])
def test_split_folders_are_found_by_any_part_of_their_names(
    tmp_path: Path, train: str, val: str, repeated: bool
) -> None:
    inner = [f"{name}/{name}" if repeated else name for name in (train, val)]
    write_folders(tmp_path, *(f"{name}/{label}" for name in inner for label in ("ant", "bee")))
    sources = open_source(str(tmp_path)), open_source(str(tmp_path), split="val")
    assert [folders(source) for source in sources] == [["ant", "bee"]] * 2
    for source, name in zip(sources, inner, strict=True):
        assert all(f"/{name}/" in item.path for items in source.items for item in items)


@pytest.mark.parametrize("word", ["train", "test", "val", "Training", "bullet_train", "test-tube"])
def test_a_class_may_be_called_like_a_split(tmp_path: Path, word: str) -> None:
    classes = sorted(["bus", "car", word])
    flat = write_folders(tmp_path / "flat", *classes)
    parted = write_folders(tmp_path / "parted", *(f"{split}/{name}" for split in ("train", "val") for name in classes))
    for split in ("train", "val"):
        for spec in (flat, parted, parted / "train"):
            assert folders(open_source(str(spec), split=split)) == classes


def test_classes_named_like_splits_alone_are_classes(tmp_path: Path) -> None:
    assert folders(open_source(str(write_folders(tmp_path, "bullet_train", "test_tube")))) == [
        "bullet_train", "test_tube",
    ]  # fmt: skip


@pytest.mark.parametrize(("train", "val"), [("bullet_train", "test_tube"), ("steam-train", "crash-test")])
@pytest.mark.parametrize("years", [("2019", "2020"), ("2020",)])
def test_folders_that_differ_by_more_than_the_split_are_an_error(
    tmp_path: Path, train: str, val: str, years: tuple[str, ...]
) -> None:
    write_folders(tmp_path, *(f"{name}/{year}" for name in (train, val) for year in years))
    for split in ("train", "val"):
        with pytest.raises(
            InputError, match=rf"{train} and {val} may be splits or classes; .*/{train}, .* rename them"
        ):
            open_source(str(tmp_path), split=split)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (("train/2020", "car/2020", "bus/2021"), r"e\.g\. .*/train, or rename train if it is a class$"),
        (("train/a", "train/b", "val/a", "val/b", "more"), r"holds splits \(train, val\) and other folders \(more\)"),
        (("x_train/a", "x_test/a", "x_more"), r"other folders \(x_more\).*; give the folder .*, e\.g\. .*/x_test"),
        (("train2014/a", "train2017/a"), r"train2014, train2017 could be its train split; give the one you mean, e\.g"),
        (("train", "val"), r"/train holds images but no class folders, .*; sort them into .*/train/CLASS/"),
        (("train", "val", "samples"), r"holds splits \(train, val\) and other folders \(samples\)"),
    ],
)
def test_unclear_folders_are_errors_that_name_one_part(tmp_path: Path, tree: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_source(str(write_folders(tmp_path, *tree)))


@pytest.mark.parametrize("name", ["val", "test", "x_test"])
def test_a_validation_folder_without_class_folders_is_an_error_only_when_it_is_used(tmp_path: Path, name: str) -> None:
    write_folders(tmp_path, "train/a", "train/b", name)
    assert folders(open_source(str(tmp_path))) == ["a", "b"]
    with pytest.raises(InputError, match=rf"/{name} holds images but no class folders, .* sort them into .*/CLASS/"):
        open_source(str(tmp_path), split="val")


def test_the_advice_for_one_class_points_below_or_above(tmp_path: Path) -> None:
    write_folders(tmp_path, "deep/set/train/a", "deep/set/train/b", "flat/a", "val/b")
    with pytest.raises(InputError, match=r"one class \(set\).*give .*/deep/set$"):
        open_source(str(tmp_path / "deep"))
    with pytest.raises(InputError, match=r"one class \(a\).*give the folder that holds the folders of all classes"):
        open_source(str(tmp_path / "flat"))
    write_folders(tmp_path / "both", "train/images/a", "train/images/b", "val/images/a")
    with pytest.raises(InputError, match=r"one class \(images\).*give .*/both/train/images$"):
        open_source(str(tmp_path / "both"))
