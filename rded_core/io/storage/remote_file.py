"""Files at URLs as seekable, retried streams."""

import io
from pathlib import Path
from typing import Any

from rded_core.io.storage.retries import retry_transient
from rded_core.io.storage.urls import is_url, open_filesystem


def read_bytes(path: str, *, offset: int = 0, num_bytes: int = -1) -> bytes:
    """Reads a file, or `num_bytes` of it from `offset`.

    Raises:
        FileNotFoundError: the file does not exist.
        EOFError: the file ends before `num_bytes`.
        InputError: the storage of a URL keeps failing.
    """
    with open_stream(path) as stream:
        remaining = stream.seek(0, io.SEEK_END) - offset if num_bytes > 0 else 0
        if remaining < num_bytes:  # before reading: a damaged index may ask for more than memory holds
            raise EOFError(f"{path} ends {num_bytes - remaining} bytes early")
        stream.seek(offset)
        return stream.read(num_bytes)


def open_stream(path: str) -> Any:
    """Opens a local file or URL for reading; the caller closes it."""
    return RemoteFile(path) if is_url(path) else Path(path).open("rb")


class RemoteFile(io.RawIOBase):
    """A file at a URL, for reading; after a transient storage error it is reopened and read again.

    Attributes:
        size: in bytes; None if the storage does not report it.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._at = 0
        self._stream: Any = None
        self.size: int | None = retry_transient(lambda: getattr(self._open(), "size", None), url)

    def read(self, size: int = -1, /) -> bytes:
        """Reads `size` bytes, fewer only at the end of the file."""
        data = retry_transient(lambda: self._read_once(size), self._url)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Moves to `offset`, without a request to the storage."""
        if whence == io.SEEK_END and self.size is None:
            raise io.UnsupportedOperation(f"{self._url}: the server does not report its size")
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

    def _open(self) -> Any:
        if self._stream is None:
            filesystem, inner = open_filesystem(self._url)
            self._stream = filesystem.open(inner, "rb")
        return self._stream

    def _read_once(self, size: int) -> bytes:
        remaining = None if self.size is None else max(self.size - self._at, 0)
        num_bytes = size if remaining is None or 0 <= size < remaining else remaining
        try:
            stream = self._open()
            stream.seek(self._at)
            data: bytes = stream.read(num_bytes)
            if remaining is not None and len(data) < num_bytes:
                raise EOFError(f"got {len(data)} of {num_bytes} bytes")
        except Exception:
            self._drop()  # it may hold half of a response
            raise
        return data

    def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()
