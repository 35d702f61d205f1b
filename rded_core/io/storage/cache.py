"""Local cache of files at URLs, for readers that need a path."""

import hashlib
import os
import time
from functools import lru_cache
from pathlib import Path

from rded_core.errors import InputError
from rded_core.io.storage.download import download
from rded_core.io.storage.urls import is_url, path_kind, stamp_of

LOOK_EVERY_S = 60.0
"""Seconds between two checks whether the file at a URL has changed."""


def local_copy(path: str) -> str:
    """Returns a local path: `path` itself, or the cached copy of a URL, downloaded again if the file there has changed.

    Raises:
        InputError: the file at the URL does not exist or cannot be read.
    """
    return _cached_file(path, int(time.monotonic() / LOOK_EVERY_S)) if is_url(path) else path


@lru_cache(maxsize=16)
def _cached_file(url: str, period: int) -> str:
    del period
    if path_kind(url) != "file":
        raise InputError(f"no such file: {url}")
    stamp = stamp_of(url)
    key = hashlib.sha256(f"{url} {stamp}".encode()).hexdigest()[:16]
    copy = default_cache() / "files" / key / Path(url).name
    if not stamp or not copy.is_file():  # without a stamp, a change cannot be detected
        try:
            download(url, copy)
        except FileNotFoundError as error:
            raise InputError(f"no such file: {url}") from error
    return str(copy)


CACHE_VARIABLE = "RDED_CACHE"


def default_cache() -> Path:
    """Returns the cache folder: ``$RDED_CACHE``, or ``~/.cache/rded``."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "rded").expanduser()
