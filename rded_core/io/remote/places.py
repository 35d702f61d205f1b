"""Paths of the working copies of runs at URLs, and the way back to their URLs."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote

from rded_core.errors import InputError
from rded_core.io.layout.run import RunFolder
from rded_core.io.storage.cache import default_cache
from rded_core.io.storage.host import HOST
from rded_core.io.storage.urls import is_url

MAX_NAME_BYTES = 240


def run_at(out: str) -> RunFolder:
    """Returns the run folder that ``--out`` names; for a URL, this machine's copy of it."""
    return RunFolder(copies() / copy_name(out) if is_url(out) else Path(out))


def copies() -> Path:
    """Returns the folder of this machine's copies of run folders: in ``$RDED_CACHE``, or ``~/.cache/rded``."""
    return default_cache().absolute() / "runs" / HOST


def copy_name(url: str) -> str:
    """Returns the folder name of a URL's copy; raises InputError if the URL is too long for a folder's name."""
    name = quote(url.rstrip("/"), safe="")
    if len(name) > MAX_NAME_BYTES:
        raise InputError(f"{url} is too long ({len(name)} bytes, at most {MAX_NAME_BYTES}); choose a shorter one")
    return name


def as_shown(text: object) -> str:
    """Returns a path, or a text that names paths, with the URL in place of each path of a working copy."""
    copy = re.escape(str(copies())) + r"/(?:[^/\s'\"]+/)?([^/\s'\"]+%3A%2F%2F[^/\s'\"]+)"
    return re.sub(copy, lambda match: unquote(match[1]), str(text))


@contextmanager
def errors_with_url() -> Generator[None]:
    """Makes the errors of a block name the URL instead of the path of its working copy."""
    try:
        yield
    except InputError as error:
        if as_shown(error) == str(error):
            raise
        raise InputError(as_shown(error)) from error
