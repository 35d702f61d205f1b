"""Patterns of tars: what a glob leaves out is counted, as in a folder."""

import io
import tarfile
from pathlib import Path

import pytest

from rded_core.io.sources.base import Source, describe_passed_over
from rded_core.io.sources.spec import open_source


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Returns a folder with a tar for each split and two that name none; each holds a sample of two classes."""
    for name in ("x-train-0", "x-val-0", "x-extra-0", "x-extra-1"):
        with tarfile.open(tmp_path / f"{name}.tar", "w") as archive:
            for label in "01":
                for ending, data in (("cls", label.encode()), ("jpg", b"image")):
                    info = tarfile.TarInfo(f"{name}-{label}.{ending}")
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
    return tmp_path


def files(source: Source) -> list[str]:
    return sorted({Path(item.path).stem for items in source.items for item in items})


@pytest.mark.parametrize("pattern", ["", "/*.tar", "/**/*.tar", "/[x]-*-?.tar"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_tars_that_name_no_split_are_counted_if_others_do(shards: Path, pattern: str, split: str) -> None:
    source = open_source(f"{shards}{pattern}", split=split)
    assert files(source) == [f"x-{split}-0"]
    assert describe_passed_over(source) == ["files that name no split, as others do: 2 (the first: x-extra-0.tar)"]


def test_a_glob_over_folders_names_the_first_below_its_own_folder(shards: Path) -> None:
    (shards / "more").mkdir()
    (shards / "x-extra-0.tar").rename(shards / "more" / "0.tar")
    source = open_source(f"{shards}/**/*.tar")
    assert describe_passed_over(source) == ["files that name no split, as others do: 2 (the first: more/0.tar)"]


def test_a_tar_that_is_named_beside_a_glob_is_not_left_out(shards: Path) -> None:
    source = open_source(f"{shards}/*.tar::{shards}/x-extra-1.tar")
    assert files(source) == ["x-extra-1", "x-train-0"]
    assert describe_passed_over(source) == ["files that name no split, as others do: 1 (the first: x-extra-0.tar)"]


def test_a_glob_of_one_split_leaves_nothing_out(shards: Path) -> None:
    for pattern in ("x-val-*.tar", "x-extra-*.tar", "x-[ev]*-0.tar::" + f"{shards}/x-extra-1.tar"):
        assert describe_passed_over(open_source(f"{shards}/{pattern}")) == []
