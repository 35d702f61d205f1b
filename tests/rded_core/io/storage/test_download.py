"""Files at URLs written to local paths."""

import hashlib
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest

from rded_core.errors import InputError
from rded_core.io.storage.download import ChecksumMismatch, download

DATA = bytes(range(256)) * 9


@pytest.fixture
def url() -> str:
    """The URL of a file of `DATA`."""
    url = f"memory://{uuid4().hex}/data.bin"
    with fsspec.open(url, "wb") as stream:
        stream.write(DATA)  # pyright: ignore[reportAttributeAccessIssue]
    return url


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("sha256", [None, hashlib.sha256(DATA).hexdigest()])
def test_the_file_arrives_whole_and_alone(url: str, tmp_path: Path, sha256: str | None) -> None:
    download(url, tmp_path / "new" / "data.bin", sha256=sha256)
    assert (tmp_path / "new" / "data.bin").read_bytes() == DATA
    assert _names(tmp_path / "new") == ["data.bin"]


def test_a_different_file_leaves_what_was_there(url: str, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(b"before")
    with pytest.raises(ChecksumMismatch):
        download(url, tmp_path / "data.bin", sha256="0" * 64)
    assert (tmp_path / "data.bin").read_bytes() == b"before"
    assert _names(tmp_path) == ["data.bin"]


def test_a_missing_file_is_an_answer(url: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        download(f"{url}.gone", tmp_path / "data.bin")
    assert not _names(tmp_path)


def test_a_place_that_cannot_be_written_is_an_error_of_its_own(url: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        download(url, tmp_path / "file" / "data.bin")
