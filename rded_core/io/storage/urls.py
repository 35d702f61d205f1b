"""Local paths and fsspec URLs: kinds, change stamps, joining, and checks before a run."""

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import make_path_posix

from rded_core.errors import InputError, first_line
from rded_core.io.storage.files import file_stamp, kind_of
from rded_core.io.storage.retries import ATTEMPTS, FIRST_ATTEMPTS, retry_transient


def is_url(path: str) -> bool:
    """Returns True if `path` is an fsspec URL (``s3://bucket/key``), not a local path."""
    return "://" in path


def open_filesystem(url: str) -> tuple[Any, str]:
    """Returns the fsspec filesystem of `url` and the path inside it.

    Raises:
        InputError: the protocol is unknown, or its package (s3fs, gcsfs, huggingface_hub) is not installed.
    """
    if not is_url(url):  # fsspec would take "::" in a name for a chain of URLs
        return fsspec.filesystem("file"), str(make_path_posix(url))
    try:
        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise InputError(f"cannot open {url}: {error}; install the extra for that storage (s3, gcs or hf)") from error
    except ValueError as error:
        raise InputError(f"cannot open {url}: {error}; give a path, or a URL such as s3://, gs:// or hf://") from error


def path_kind(path: str, *, attempts: int = ATTEMPTS) -> str | None:
    """Returns ``file``, ``directory`` or another kind that fsspec reports; None if the path or URL does not exist.

    Args:
        path: local, or a URL.
        attempts: maximum number of attempts while the storage of a URL has transient errors.

    Raises:
        InputError: the storage does not answer; fsspec's own ``exists`` and ``isfile`` would return False.
    """
    filesystem, inner = open_filesystem(path)
    try:
        ask = partial(filesystem.info, inner)
        info: dict[str, str] = retry_transient(ask, path, attempts=attempts) if is_url(path) else ask()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputError(
            f"cannot access {path}: {first_line(error)}; check the address and your permissions"
        ) from error
    return info["type"]


def stamp_of(path: str) -> int:
    """Returns a change stamp: different after every write; 0 if the storage reports none."""
    if not is_url(path):
        return file_stamp(path)[0]
    filesystem, inner = open_filesystem(path)
    try:
        return remote_stamp(retry_transient(lambda: filesystem.info(inner), path))
    except OSError:
        return 0


OBJECT_STORES = ("s3", "gs", "gcs", "abfs", "az")
"""Storages that a run can be written to: they keep whole objects and report when each was written."""

REMOTE_STAMPS = (
    *("ETag", "etag", "md5Hash", "md5", "blob_id", "Content-MD5", "LastModified", "last_modified", "Last-Modified"),
    *("updated", "modify", "mtime", "created"),
)
"""Names under which storages report that an object was rewritten; the first one present is used."""


def remote_stamp(info: Mapping[str, Any]) -> int:
    """Returns a 63-bit change stamp from a storage's entry for an object; 0 if it has none of `REMOTE_STAMPS`."""
    value = next((info[name] for name in REMOTE_STAMPS if info.get(name)), "")
    # A listing may give in seconds the time that a request for the object alone gives as a date.
    sign = str(value.timestamp() if isinstance(value, datetime) else value)
    return int.from_bytes(hashlib.sha256(sign.encode()).digest()[:8], "big") >> 1 if sign else 0


def join_path(root: str, relative: str) -> str:
    """Joins a folder, local or URL, and a POSIX path below it."""
    return f"{root.rstrip('/')}/{relative}"


def require_folder_at(url: str) -> None:
    """Raises InputError if a run cannot be written to a URL: not an object store, no such bucket, or a file."""
    protocol, _, place = url.partition("://")
    if protocol not in OBJECT_STORES:
        raise InputError(f"--out {url} cannot hold a run; pass a local folder, or a URL of {', '.join(OBJECT_STORES)}")
    bucket = place.partition("/")[0]
    if not bucket or not _may_be_there(f"{protocol}://{bucket}"):
        raise InputError(f"--out {url}: no such bucket ({bucket or 'none given'}); create it first, or choose another")
    if path_kind(url) == "file":
        raise InputError(f"--out {url} is a file; choose another name")


def _may_be_there(bucket: str) -> bool:
    """Returns True if a bucket exists, or if it is forbidden: writing below a prefix may still be allowed."""
    try:
        return path_kind(bucket, attempts=FIRST_ATTEMPTS) is not None
    except InputError as error:
        if isinstance(error.__cause__, PermissionError):
            return True
        raise


def require_url_form(path: str) -> None:
    """Raises InputError for a URL with one slash too few."""
    if (match := re.match(r"(\w+):/(?!/)", path)) and match[1] in OBJECT_STORES:
        raise InputError(f"{path} is neither a path nor a URL; did you mean {match[1]}://{path[match.end() :]}?")


def require_folder(root: Path) -> None:
    """Raises InputError if `root` is not a folder."""
    kind = kind_of(root)
    if kind is None:
        raise InputError(
            f"no such folder: {root}; pass a folder of class folders, tars or Parquet files{pattern_hint(str(root))}"
        )
    if kind == "file":
        raise InputError(not_a_folder(str(root)))


PACKED = (".zip", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
"""Endings of files that hold others, compressed."""


def not_a_folder(path: str) -> str:
    """Returns the error for a file in place of a source's folder, with what to give for its kind."""
    name = path.lower()
    if name.endswith(".parquet"):
        return f"{path} is a file, not a folder; pass its folder, whose Parquet files are read as one source"
    if name.endswith(PACKED):
        tar = ", or a plain .tar for WebDataset samples" if ".t" in name.rpartition("/")[2] else ""
        return f"{path} is a packed file, not a folder; unpack it and pass the folder{tar}"
    return f"{path} is a file, not a folder; pass a folder, or a pattern that ends in .tar"


def pattern_hint(path: str) -> str:
    """Returns what to know of patterns, for a path that does not exist and looks like one; empty for others."""
    return " (a pattern must end in .tar)" if re.search(r"[*?\[{]", path) else ""
