"""Run folders and datasets at URLs, for code that works on local folders only."""

import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from rded_core.errors import InputError
from rded_core.io.layout.run import RunFolder
from rded_core.io.remote.lease import find_writer_at, only_writer_at
from rded_core.io.remote.places import copies, errors_with_url
from rded_core.io.remote.sync import Mirror, Wanted, everything
from rded_core.io.storage.host import is_running
from rded_core.io.storage.retries import FIRST_ATTEMPTS
from rded_core.io.storage.urls import is_url, join_path, path_kind

PRIVATE = "read-"
"""Prefix of the folder names of commands that only read, followed by their process ID."""

_changed: ContextVar[tuple[Mirror, ...]] = ContextVar("changed", default=())
"""Working copies that this context changes."""


@contextmanager
def folder_to_read(location: str) -> Generator[str]:
    """Yields a local folder with the content of `location`, a folder or the URL of one.

    For a URL, every file is fetched into a private folder: a run on this machine continues in its own copy.

    Raises:
        InputError: the URL is empty, it cannot be read, or another process writes there.
    """
    if not is_url(location):
        yield location
        return
    path_kind(location, attempts=FIRST_ATTEMPTS)
    _require_no_writer(location)
    with _private_folder() as folder, errors_with_url():
        mirror = Mirror(location, folder)
        mirror.pull()
        if not any(mirror.root.iterdir()):
            raise InputError(f"nothing found at {location}; pass the URL of a run folder, or of a dataset")
        _require_no_writer(location)
        if not mirror.is_level():
            raise InputError(f"{location} changed during the download; run the same command again")
        yield str(mirror.root)


@contextmanager
def run_as_asked(url: str) -> Generator[str]:
    """Yields a folder with only the files that say what a run at a URL was asked to do, even while it runs.

    Raises:
        InputError: the URL has no run, or it cannot be read.
    """
    path_kind(url, attempts=FIRST_ATTEMPTS)
    names = {mark.as_posix() for mark in RunFolder(Path()).marks()}
    with _private_folder() as folder, errors_with_url():
        mirror = Mirror(url, folder)
        require_run(mirror, may_be_new=False)
        mirror.pull(names.__contains__)
        yield str(mirror.root)


def _require_no_writer(location: str) -> None:
    """Raises InputError if another process writes to a URL, or to the run whose dataset is there."""
    above, _, name = location.rstrip("/").rpartition("/")
    for url in (location, above) if name == RunFolder(Path()).dataset.name else (location,):
        if writer := find_writer_at(url):
            raise InputError(f"{location} is being written by {writer}; wait until it is done")


@contextmanager
def _private_folder() -> Generator[Path]:
    """Yields a folder among the copies; it is removed after the block, or by the next call if the process is killed."""
    copies().mkdir(parents=True, exist_ok=True)
    for leftover in copies().glob(f"{PRIVATE}*"):
        pid = leftover.name.split("-")[1]
        if not (pid.isdigit() and is_running(int(pid))):
            shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{PRIVATE}{os.getpid()}-", dir=copies()) as folder:
        yield Path(folder)


@contextmanager
def run_to_change(location: str, wanted: Wanted = everything, *, may_be_new: bool = False) -> Generator[str]:
    """Yields the local folder of a run, locked against other writers, and sends the changes of the block.

    A run at a URL is changed in this machine's copy of it.

    Args:
        location: the run folder, or its URL.
        wanted: which files to fetch and send.
        may_be_new: whether the run may not exist yet.

    Raises:
        InputError: the URL has no run, it cannot be read or written, or another process writes there.
    """
    if not is_url(location):
        yield location
        return
    path_kind(location, attempts=FIRST_ATTEMPTS)
    location = _run_of(location)
    mirror = Mirror(location)
    require_run(mirror, may_be_new=may_be_new)
    with errors_with_url(), only_writer_at(location):
        mirror.pull(wanted)
        token = _changed.set((*_changed.get(), mirror))
        try:
            with mirror.pushing(wanted):
                yield str(mirror.root)
        finally:
            _changed.reset(token)


def _run_of(location: str) -> str:
    """Returns the URL of the run at `location`, or of the run whose dataset is there."""
    above, _, name = location.rstrip("/").rpartition("/")
    is_dataset = name == RunFolder(Path()).dataset.name and not _holds_run(location) and _holds_run(above)
    return above if is_dataset else location


def _holds_run(url: str) -> bool:
    return any(path_kind(join_path(url, mark.as_posix())) == "file" for mark in RunFolder(Path()).marks())


def send_now(folder: Path) -> None:
    """Sends the changes in a folder's working copy at once; does nothing for folders outside working copies."""
    for mirror in _changed.get():
        if folder.is_relative_to(mirror.root):
            mirror.push()


def require_run(mirror: Mirror, *, may_be_new: bool) -> None:
    """Raises InputError if a URL holds anything other than a run; fetches and writes nothing."""
    if _holds_run(mirror.url):
        return
    names = mirror.names()
    other = next((name for name in names if not name.startswith("work/")), None)
    if may_be_new and other is None:
        return
    if names and may_be_new:
        raise InputError(
            f"--out {mirror.url} is not empty and holds no rded run ({other} is there); choose a new or empty one"
        )
    raise InputError(f"no run folder at {mirror.url}; pass the URL that rded distill had as --out")
