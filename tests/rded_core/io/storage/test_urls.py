"""Local paths and fsspec URLs: reading, joining, and checks before a run."""

from collections.abc import Callable
from pathlib import Path

import pytest
from s3fs import S3FileSystem

from rded_core.errors import InputError
from rded_core.io.storage.cache import local_copy
from rded_core.io.storage.remote_file import read_bytes
from rded_core.io.storage.urls import (
    is_url,
    join_path,
    open_filesystem,
    path_kind,
    require_folder,
    require_folder_at,
    require_url_form,
)

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


def test_a_missing_file_raises_file_not_found(put: Put) -> None:
    root = put("f.bin", b"x")
    with pytest.raises(FileNotFoundError):
        read_bytes(join_path(root, "g.bin"))


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("nosuchprotocol://bucket/key", "give a path, or a URL such as s3://"),
        ("oci://bucket/key", "install the extra for that storage"),
    ],
)
def test_storage_that_cannot_be_opened_is_an_error(url: str, remedy: str) -> None:
    with pytest.raises(InputError, match=remedy):
        open_filesystem(url)


def test_urls_and_paths_are_distinguished() -> None:
    assert is_url("s3://bucket/key")
    assert is_url("memory://x")
    assert not is_url("/data/images")
    assert not is_url("images:1/x")


@pytest.mark.parametrize("root", ["/data", "/data/", "s3://bucket", "s3://bucket/"])
def test_joining_puts_one_slash_between(root: str) -> None:
    assert join_path(root, "a/b.jpg") == root.rstrip("/") + "/a/b.jpg"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://example.com/run", r"cannot hold a run; pass a local folder, or a URL of s3, gs"),
        ("memory://run", r"cannot hold a run; pass a local folder"),
        ("file:///tmp/run", r"cannot hold a run; pass a local folder"),
        ("s3://", r"no such bucket \(none given\)"),
        ("s3://rded-no-such-bucket/run", r"no such bucket \(rded-no-such-bucket\); create it first"),
    ],
)
@pytest.mark.usefixtures("s3_bucket")
def test_urls_that_cannot_hold_a_run_are_rejected(url: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        require_folder_at(url)


def test_a_prefix_in_a_bucket_can_hold_a_run(s3_bucket: str) -> None:
    require_folder_at(f"{s3_bucket}/runs/new")


def test_permission_below_a_prefix_only_is_enough(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, asked = S3FileSystem._info, []

    async def refuse(self: S3FileSystem, path: str, *args: object, **how: object) -> object:
        asked.append(path.removeprefix("s3://"))
        if "/" not in asked[-1]:
            raise PermissionError("Forbidden")
        return await plain(self, path, *args, **how)

    monkeypatch.setattr(S3FileSystem, "_info", refuse)
    S3FileSystem.clear_instance_cache()  # each instance binds its methods when it is made
    require_folder_at(f"{s3_bucket}/runs/new")
    assert s3_bucket.removeprefix("s3://") in asked


def test_a_forbidden_file_is_an_input_error(s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RDED_CACHE", str(tmp_path))

    async def refuse(*_: object, **__: object) -> None:
        raise PermissionError("Access Denied")

    S3FileSystem().pipe_file(f"{s3_bucket}/weights.safetensors", b"1")
    monkeypatch.setattr(S3FileSystem, "_get_file", refuse)
    S3FileSystem.clear_instance_cache()  # each instance binds its methods when it is made
    with pytest.raises(
        InputError, match=r"^cannot read s3://[^\n]*weights.safetensors: Access Denied; check the address"
    ):
        local_copy(f"{s3_bucket}/weights.safetensors")


def test_a_url_with_one_slash_too_few_is_rejected() -> None:
    with pytest.raises(InputError, match=r"did you mean s3://bucket/run\?"):
        require_url_form("s3:/bucket/run")
    for path in ("s3://bucket/run", "s3", "C:/run", "out:1"):
        require_url_form(path)


def test_missing_credentials_are_an_error_of_one_line(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    s3fs = pytest.importorskip("s3fs")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", "/nonexistent")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(
        InputError, match=r"NoCredentialsError Unable to locate credentials; check the address and your"
    ):
        path_kind(f"{s3_bucket}/x")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.parquet", "is a file, not a folder; pass its folder, whose Parquet files are read as one source"),
        ("a.zip", "is a packed file, not a folder; unpack it and pass the folder"),
        (
            "a.TGZ",
            "is a packed file, not a folder; unpack it and pass the folder, or a plain .tar for WebDataset samples",
        ),
        ("a.tar.gz", "unpack it and pass the folder, or a plain .tar for WebDataset samples"),
        ("a.jpg", "is a file, not a folder; pass a folder, or a pattern that ends in .tar"),
    ],
)
def test_a_file_in_place_of_a_folder_says_what_to_pass(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(InputError) as caught:
        require_folder(tmp_path / name)
    assert str(caught.value).endswith(message)


@pytest.mark.parametrize(("name", "is_pattern"), [("*.parquet", True), ("x-{0..3}.zip", True), ("photos", False)])
def test_a_pattern_that_is_no_folder_says_what_patterns_are_for(tmp_path: Path, name: str, is_pattern: bool) -> None:
    with pytest.raises(InputError, match="no such folder: ") as caught:
        require_folder(tmp_path / name)
    assert ("a pattern must end in .tar" in str(caught.value)) is is_pattern
