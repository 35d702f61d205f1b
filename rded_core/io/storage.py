"""Paths and fsspec URLs alike: open, read, join."""

import hashlib
import io
import re
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import fsspec

from rded_core.errors import InputError, first_line
from rded_core.io.files import file_stamp, kind_of
from rded_core.io.retries import ATTEMPTS, FIRST_ATTEMPTS, retry_transient


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
    """Reads a file, or `num_bytes` of it from `offset`.

    Raises:
        FileNotFoundError: it is gone.
        EOFError: it ends before `num_bytes`.
        InputError: the storage of a URL keeps failing.
    """
    with open_stream(path) as stream:
        left = stream.seek(0, io.SEEK_END) - offset if num_bytes > 0 else 0
        if left < num_bytes:  # before reading: a damaged index may ask for more than memory holds
            raise EOFError(f"{path} ends {num_bytes - left} bytes early")
        stream.seek(offset)
        return stream.read(num_bytes)


def open_stream(path: str) -> Any:
    """Opens a local file or URL for reading; the caller closes it."""
    return RemoteFile(path) if is_url(path) else Path(path).open("rb")


class RemoteFile(io.RawIOBase):
    """A file at a URL, for reading: where the storage fails for the moment, it is opened anew and read again.

    Attributes:
        size: in bytes; None where the storage does not tell.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._at = 0
        self._stream: Any = None
        self.size: int | None = retry_transient(lambda: getattr(self._opened(), "size", None), url)

    def read(self, size: int = -1, /) -> bytes:
        """Reads `size` bytes, fewer only at the end of the file."""
        data = retry_transient(lambda: self._read_once(size), self._url)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Moves to `offset`, without asking the storage."""
        if whence == io.SEEK_END and self.size is None:
            raise io.UnsupportedOperation(f"{self._url}: the server does not tell its size")
        self._at = offset + (0, self._at, self.size or 0)[whence]
        return self._at

    def tell(self) -> int:
        """Returns the position."""
        return self._at

    def readable(self) -> bool:
        """Returns True."""
        return True

    def seekable(self) -> bool:
        """Returns True."""
        return True

    def close(self) -> None:
        """Closes the file at the storage."""
        self._drop()
        super().close()

    def _opened(self) -> Any:
        if self._stream is None:
            filesystem, inner = open_filesystem(self._url)
            self._stream = filesystem.open(inner, "rb")
        return self._stream

    def _read_once(self, size: int) -> bytes:
        left = None if self.size is None else max(self.size - self._at, 0)
        wanted = size if left is None or 0 <= size < left else left
        try:
            stream = self._opened()
            stream.seek(self._at)
            data: bytes = stream.read(wanted)
            if left is not None and len(data) < wanted:
                raise EOFError(f"{len(data)} bytes came of {wanted}")
        except Exception:
            self._drop()  # what it holds may be half of an answer
            raise
        return data

    def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()


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
