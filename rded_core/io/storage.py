"""Paths and fsspec URLs alike: open, read, join."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsspec

from rded_core.errors import InputError
from rded_core.io.files import file_stamp, kind_of


def is_url(path: str) -> bool:
    """Tells an fsspec URL (``s3://bucket/key``) from a local path."""
    return "://" in path


def open_filesystem(url: str) -> tuple[Any, str]:
    """Returns the fsspec filesystem of `url` and the path inside it.

    Raises:
        InputError: the protocol is unknown, or its package (s3fs, gcsfs, huggingface_hub) is not installed.
    """
    try:
        return fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise InputError(f"cannot open {url}: {error}; install the extra for that storage (s3, gcs or hf)") from error


def read_bytes(path: str, *, offset: int = 0, num_bytes: int = -1) -> bytes:
    """Reads a file, or `num_bytes` of it from `offset`; raises FileNotFoundError where it is gone."""
    with open_stream(path) as stream:
        if offset:
            stream.seek(offset)
        return stream.read() if num_bytes < 0 else stream.read(num_bytes)


def open_stream(path: str) -> Any:
    """Opens a local file or URL for reading; the caller closes it."""
    return open_filesystem(path)[0].open(path, "rb") if is_url(path) else Path(path).open("rb")


def stamp_of(path: str) -> int:
    """Returns a number that is another when a file or URL has been written since; 0 where nothing can be told."""
    if not is_url(path):
        return file_stamp(path)[0]
    filesystem, inner = open_filesystem(path)
    try:
        return remote_stamp(filesystem.info(inner))
    except OSError:
        return 0


REMOTE_STAMPS = ("ETag", "etag", "md5Hash", "md5", "LastModified", "last_modified", "updated", "mtime", "created")
"""What storages call the sign that an object was written anew; the first found is taken."""


def remote_stamp(info: Mapping[str, Any]) -> int:
    """Returns a 63-bit number for what a storage's listing says of when, or as what, an object was written."""
    sign = next((str(info[name]) for name in REMOTE_STAMPS if info.get(name)), "")
    return int.from_bytes(hashlib.sha256(sign.encode()).digest()[:8], "big") >> 1 if sign else 0


def join_path(root: str, relative: str) -> str:
    """Joins a folder, local or URL, and a POSIX path below it."""
    return f"{root.rstrip('/')}/{relative}"


def require_folder(root: Path) -> None:
    """Raises InputError where `root` is no folder."""
    kind = kind_of(root)
    if kind is None:
        raise InputError(f"no such folder: {root}; give the path of a folder of class folders, tars or Parquet files")
    if kind == "file":
        raise InputError(f"{root} is a file, not a folder; give a folder, or a pattern that ends in .tar")
