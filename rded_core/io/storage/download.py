"""Files at URLs written to local paths: streamed, retried, atomic, checked."""

from pathlib import Path

from rded_core.io.storage.atomic import write_atomically
from rded_core.io.storage.files import file_digest
from rded_core.io.storage.retries import ask_storage
from rded_core.io.storage.urls import open_filesystem


class ChecksumMismatch(Exception):
    """A downloaded file does not have the expected SHA-256."""


class _Gone(Exception):
    """The file does not exist; not an OSError, which would be taken for one of writing."""


def download(url: str, path: Path, *, sha256: str | None = None) -> None:
    """Writes the file at a URL to `path`, which stays as it was unless the whole file arrives.

    Args:
        url: any URL that fsspec can read.
        path: local path to write; its folder is created if needed.
        sha256: expected digest; None accepts any content.

    Raises:
        FileNotFoundError: there is no such file at the URL.
        ChecksumMismatch: the file has a different digest.
        InputError: the storage keeps failing, or `path` cannot be written.
    """
    filesystem, inner = open_filesystem(url)

    def fetch(temporary: Path) -> None:
        try:
            ask_storage(
                lambda: filesystem.get_file(inner, str(temporary)), url, doing="read", answers=(FileNotFoundError,)
            )
        except FileNotFoundError as error:
            raise _Gone from error
        if sha256 is not None and file_digest(temporary) != sha256:
            raise ChecksumMismatch(url)

    try:
        write_atomically(path, fetch)
    except _Gone as error:
        raise FileNotFoundError(url) from error
