"""Paths and fsspec URLs alike: open, read, join."""

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import fsspec

from rded_core.errors import InputError, first_line
from rded_core.io.storage.files import file_stamp, kind_of
from rded_core.io.storage.retries import ATTEMPTS, FIRST_ATTEMPTS, retry_transient


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


def path_kind(path: str, *, attempts: int = ATTEMPTS) -> str | None:
    """Returns ``file``, ``directory`` or another kind that fsspec knows of a path or URL; None where there is nothing.

    Args:
        path: local, or a URL.
        attempts: at most, where the storage of a URL fails for the moment.

    Raises:
        InputError: the storage does not say, where fsspec's own ``exists`` and ``isfile`` would say no.
    """
    filesystem, inner = open_filesystem(path)
    try:
        ask = partial(filesystem.info, inner)
        info: dict[str, str] = retry_transient(ask, path, attempts=attempts) if is_url(path) else ask()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputError(f"cannot look at {path}: {first_line(error)}; check the address and your rights") from error
    return info["type"]


def stamp_of(path: str) -> int:
    """Returns a number that is another when a file or URL has been written since; 0 where nothing can be told."""
    if not is_url(path):
        return file_stamp(path)[0]
    filesystem, inner = open_filesystem(path)
    try:
        return remote_stamp(retry_transient(lambda: filesystem.info(inner), path))
    except OSError:
        return 0


OBJECT_STORES = ("s3", "gs", "gcs", "abfs", "az")
"""Storages that a run can be written to: they hold what was sent, whole, and say when."""

REMOTE_STAMPS = (
    *("ETag", "etag", "md5Hash", "md5", "blob_id", "Content-MD5", "LastModified", "last_modified", "Last-Modified"),
    *("updated", "modify", "mtime", "created"),
)
"""What storages call the sign that an object was written anew; the first found is taken."""


def remote_stamp(info: Mapping[str, Any]) -> int:
    """Returns a 63-bit number for what a storage's listing says of when, or as what, an object was written."""
    found = next((info[name] for name in REMOTE_STAMPS if info.get(name)), "")
    # A listing may say in seconds what a look at the object alone says as a date.
    sign = str(found.timestamp() if isinstance(found, datetime) else found)
    return int.from_bytes(hashlib.sha256(sign.encode()).digest()[:8], "big") >> 1 if sign else 0


def join_path(root: str, relative: str) -> str:
    """Joins a folder, local or URL, and a POSIX path below it."""
    return f"{root.rstrip('/')}/{relative}"


def require_folder_at(url: str) -> None:
    """Raises InputError where a run cannot be written to a URL: no object store, no bucket there, or a file."""
    protocol, _, place = url.partition("://")
    if protocol not in OBJECT_STORES:
        raise InputError(f"--out {url}: runs are written to a folder, or to {', '.join(OBJECT_STORES)} URLs; give one")
    bucket = place.partition("/")[0]
    if not bucket or not _may_be_there(f"{protocol}://{bucket}"):
        raise InputError(f"--out {url}: no such bucket ({bucket or 'none is named'}); make it first, or name another")
    if path_kind(url) == "file":
        raise InputError(f"--out {url} is a file; choose another name")


def _may_be_there(bucket: str) -> bool:
    """Tells whether a bucket is there; who may not look at it may still be allowed to write below a prefix."""
    try:
        return path_kind(bucket, attempts=FIRST_ATTEMPTS) is not None
    except InputError as error:
        if isinstance(error.__cause__, PermissionError):
            return True
        raise


def require_url_form(path: str) -> None:
    """Raises InputError for what was to be a URL, with a slash too few."""
    if (found := re.match(r"(\w+):/(?!/)", path)) and found[1] in OBJECT_STORES:
        raise InputError(f"{path} is neither a path nor a URL; did you mean {found[1]}://{path[found.end() :]}?")


def require_folder(root: Path) -> None:
    """Raises InputError where `root` is no folder."""
    kind = kind_of(root)
    if kind is None:
        raise InputError(f"no such folder: {root}; give the path of a folder of class folders, tars or Parquet files")
    if kind == "file":
        raise InputError(f"{root} is a file, not a folder; give a folder, or a pattern that ends in .tar")
