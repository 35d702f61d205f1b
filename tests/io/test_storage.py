"""Paths and fsspec URLs alike: opening and reading."""

from collections.abc import Callable

import pytest

from rded_core.errors import InputError
from rded_core.io.storage import is_url, join_path, open_filesystem, read_bytes

Put = Callable[[str, bytes], str]


def test_whole_files_and_ranges_are_read(put: Put) -> None:
    path = join_path(put("f.bin", bytes(range(50))), "f.bin")
    assert read_bytes(path) == bytes(range(50))
    assert read_bytes(path, offset=10, num_bytes=5) == bytes(range(10, 15))
    assert read_bytes(path, num_bytes=4) == bytes(range(4))
    assert read_bytes(path, offset=45) == bytes(range(45, 50))
    assert read_bytes(path, offset=45, num_bytes=5) == bytes(range(45, 50))
    assert read_bytes(path, offset=50, num_bytes=0) == b""


@pytest.mark.parametrize(("offset", "num_bytes"), [(45, 6), (50, 1), (60, 1), (0, 8 << 40)])
def test_a_range_past_the_end_is_an_error_before_memory_is_taken(put: Put, offset: int, num_bytes: int) -> None:
    path = join_path(put("f.bin", bytes(50)), "f.bin")
    with pytest.raises(EOFError, match="bytes early"):
        read_bytes(path, offset=offset, num_bytes=num_bytes)


def test_a_file_that_is_gone_raises_file_not_found(put: Put) -> None:
    root = put("f.bin", b"x")
    with pytest.raises(FileNotFoundError):
        read_bytes(join_path(root, "g.bin"))


@pytest.mark.parametrize("url", ["nosuchprotocol://bucket/key", "oci://bucket/key"])
def test_storage_that_is_not_installed_is_an_error(url: str) -> None:
    with pytest.raises(InputError, match="install the extra for that storage"):
        open_filesystem(url)


def test_urls_are_told_from_paths() -> None:
    assert is_url("s3://bucket/key")
    assert is_url("memory://x")
    assert not is_url("/data/images")
    assert not is_url("images:1/x")


@pytest.mark.parametrize("root", ["/data", "/data/", "s3://bucket", "s3://bucket/"])
def test_joining_puts_one_slash_between(root: str) -> None:
    assert join_path(root, "a/b.jpg") == root.rstrip("/") + "/a/b.jpg"
