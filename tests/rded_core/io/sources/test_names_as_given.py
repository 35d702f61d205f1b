"""Paths are taken by the name that the user gave: links that end in a digest, brackets and braces in folders."""

import io
import tarfile
from pathlib import Path

import pytest

from rded_core.errors import InputError
from rded_core.io.sources.spec import absolute_spec, open_source


def write_tar(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in [(f"{label}.{kind}", data) for label in "ab" for kind, data in _sample(label)]:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def _sample(label: str) -> list[tuple[str, bytes]]:
    return [("cls", label.encode()), ("jpg", b"image of " + label.encode())]


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """Returns a folder as in Hugging Face's cache: names that are links to files named after their digest."""
    write_tar(tmp_path / "blobs" / "bbbb")
    (tmp_path / "blobs" / "aaaa").write_bytes(b"weights")
    (tmp_path / "snapshots").mkdir()
    for name, blob in (("train.tar", "bbbb"), ("model.safetensors", "aaaa"), ("model.pth", "aaaa")):
        (tmp_path / "snapshots" / name).symlink_to(f"../blobs/{blob}")
    return tmp_path / "snapshots"


@pytest.mark.parametrize("spec", ["train.tar", "trai*.tar", "{train,train}.tar", ""])
def test_tars_behind_links_are_read(snapshot: Path, spec: str) -> None:
    source = open_source(absolute_spec(str(snapshot / spec)))
    assert [label.folder for label in source.classes] == ["a", "b"]


def test_a_link_keeps_the_ending_that_decides(snapshot: Path, tmp_path: Path) -> None:
    assert absolute_spec(str(snapshot / "model.safetensors")) == str(snapshot / "model.safetensors")
    (tmp_path / "folder").symlink_to(snapshot)
    assert absolute_spec(str(tmp_path / "folder" / "train.tar")) == str(snapshot / "train.tar")


def test_paths_that_worked_are_recorded_as_before(snapshot: Path, tmp_path: Path) -> None:
    assert absolute_spec(str(snapshot / "model.pth")) == str(tmp_path / "blobs" / "aaaa")
    (tmp_path / "a.tar").symlink_to(write_tar(tmp_path / "b.tar"))
    assert absolute_spec(str(tmp_path / "a.tar")) == str(tmp_path / "b.tar")
    (tmp_path / "weights").symlink_to(tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").touch()
    assert absolute_spec(str(tmp_path / "weights")) == str(tmp_path / "w.safetensors")
    (tmp_path / "set.tar").symlink_to(snapshot)
    assert absolute_spec(str(tmp_path / "set.tar")) == str(snapshot)


@pytest.mark.parametrize("folder", ["data[1]", "a {v2}", "{a,b}", "x*y?", "a::b", "[ab]/{1..2}", "$HOME"])
@pytest.mark.parametrize("spec", ["", "x-000.tar", "x-*.tar", "x-{000..000}.tar", "x-[0-9]*.tar"])
def test_brackets_in_a_folders_name_are_no_pattern(tmp_path: Path, folder: str, spec: str) -> None:
    tar = write_tar(tmp_path / folder / "x-000.tar")
    source = open_source(str(tmp_path / folder / spec))
    assert [item.path for items in source.items for item in items] == [str(tar)] * 2


@pytest.mark.parametrize("name", ["x[1].tar", "{a,b}.tar", "x*.tar", "a::b.tar"])
def test_brackets_in_a_files_name_are_no_pattern(tmp_path: Path, name: str) -> None:
    tar = write_tar(tmp_path / name)
    write_tar(tmp_path / "x1.tar")
    source = open_source(str(tar))
    assert {item.path for items in source.items for item in items} == {str(tar)}


def test_a_missing_tar_below_a_folder_with_brackets_is_an_error(tmp_path: Path) -> None:
    write_tar(tmp_path / "data[1]" / "x-000.tar")
    with pytest.raises(InputError, match=r"no such tar: .*data\[1\]/x-001\.tar"):
        open_source(str(tmp_path / "data[1]" / "x-{000..001}.tar"))


def test_several_patterns_are_still_joined(tmp_path: Path) -> None:
    write_tar(tmp_path / "one" / "x.tar")
    (tmp_path / "two").mkdir()
    with tarfile.open(tmp_path / "two" / "y.tar", "w") as archive:
        for name, data in (("c.cls", b"c"), ("c.jpg", b"c")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    source = open_source(f"{tmp_path}/one/*.tar::{tmp_path}/two/y.tar")
    assert [label.folder for label in source.classes] == ["a", "b", "c"]


def test_a_folder_may_be_called_like_a_tar(image_folder: Path) -> None:
    folder = image_folder.rename(image_folder.with_name("photos.tar"))
    assert len(open_source(str(folder)).classes) == 3
