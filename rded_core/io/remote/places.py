"""Which URL a run has, and where its working copy lies."""

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
    """Returns the run folder that ``--out`` names: for a URL, this machine's copy of it."""
    return RunFolder(copies() / copy_name(out) if is_url(out) else Path(out))


def copies() -> Path:
    """Returns where this machine keeps its copies of run folders: in ``$RDED_CACHE``, or ``~/.cache/rded``."""
    return default_cache().absolute() / "runs" / HOST


def copy_name(url: str) -> str:
    """Names the copy of what is at a URL; raises InputError where the URL is too long for a folder's name."""
    name = quote(url.rstrip("/"), safe="")
    if len(name) > MAX_NAME_BYTES:
        raise InputError(f"{url} is too long ({len(name)} bytes, at most {MAX_NAME_BYTES}); choose a shorter one")
    return name


def as_shown(text: object) -> str:
    """Returns a path, or a text that names paths, as people know them: by its URL what lies in a copy."""
    copy = re.escape(str(copies())) + r"/(?:[^/\s'\"]+/)?([^/\s'\"]+%3A%2F%2F[^/\s'\"]+)"
    return re.sub(copy, lambda found: unquote(found[1]), str(text))


@contextmanager
def told_with_url() -> Generator[None]:
    """Has errors of a block name what lies in a copy as its user knows it: by its URL."""
    try:
        yield
    except InputError as error:
        if as_shown(error) == str(error):
            raise
        raise InputError(as_shown(error)) from error
