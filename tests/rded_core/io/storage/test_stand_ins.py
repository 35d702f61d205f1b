"""Files in another's place are named: Git LFS pointers, web pages, empty files."""

import io
import tarfile
from pathlib import Path

import pytest

from rded_core.errors import InputError
from rded_core.io.formats.images import RejectedImage, decode_image, read_header
from rded_core.io.sources.reading import read_item
from rded_core.io.sources.spec import open_source
from rded_core.io.storage.stand_ins import stand_in, stand_in_at

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1\nsize 12345\n"
)


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (b"", "it is empty; fetch it again"),
        (POINTER, "it is a Git LFS pointer, not the file itself; run git lfs pull in its repository"),
        (b"\xef\xbb\xbf\n <!DOCTYPE HTML><html>", "it is a web page or an error message"),
        (b"<HTML lang='en'>", "it is a web page or an error message"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code>", "it is a web page or an error message"),
    ],
)
def test_what_stands_in_for_a_file_is_named(start: bytes, what: str) -> None:
    assert stand_in(start).startswith(what)


@pytest.mark.parametrize("start", [b"PAR1", b"PK\x03\x04", b"\x80\x02}q", b"\x00", b"version 1", b"{}"])
def test_data_is_not_taken_for_a_stand_in(start: bytes) -> None:
    assert stand_in(start) == ""


def test_a_missing_file_stands_in_for_nothing(tmp_path: Path) -> None:
    assert stand_in_at(str(tmp_path / "absent")) == ""


@pytest.mark.parametrize("name", ["x.tar", "x.parquet"])
def test_pointers_in_place_of_a_sources_files_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(POINTER)
    with pytest.raises(
        InputError, match=rf"{name} (is not|cannot be read).*it is a Git LFS pointer.*; run git lfs pull"
    ):
        open_source(str(tmp_path))


@pytest.mark.parametrize("read", [read_header, decode_image])
def test_a_pointer_in_place_of_an_image_is_rejected_by_name(read: object) -> None:
    with pytest.raises(RejectedImage, match="lfs_pointer: run git lfs pull"):
        read(POINTER)  # pyright: ignore[reportCallIssue]


def test_a_pointer_in_a_tar_is_rejected_by_name(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, data in (("a.jpg", POINTER), ("a.cls", b"0"), ("b.jpg", POINTER), ("b.cls", b"1")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    with pytest.raises(RejectedImage, match="lfs_pointer"):
        read_header(read_item(open_source(str(tmp_path)).items[0][0]))
