"""Run folders and datasets at URLs, for what works on local ones alone."""

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
from rded_core.io.remote.places import copies, told_with_url
from rded_core.io.remote.sync import Mirror, Wanted, everything
from rded_core.io.storage.host import is_running
from rded_core.io.storage.retries import FIRST_ATTEMPTS
from rded_core.io.storage.urls import is_url, join_path, path_kind

PRIVATE = "read-"
"""Begins the names of folders of commands that only read, before the number of their process."""

_changed: ContextVar[tuple[Mirror, ...]] = ContextVar("changed", default=())
"""Copies that this context changes."""


@contextmanager
def folder_to_read(where: str) -> Generator[str]:
    """Hands a block a local folder with what `where`, a folder or the URL of one, holds.

    Of a URL every file is fetched, into a folder of its own: a run on this machine works on in its own copy.

    Raises:
        InputError: there is nothing at the URL, it cannot be read, or somebody writes there.
    """
    if not is_url(where):
        yield where
        return
    path_kind(where, attempts=FIRST_ATTEMPTS)
    _require_no_writer(where)
    with _private_folder() as folder, told_with_url():
        mirror = Mirror(where, folder)
        mirror.pull()
        if not any(mirror.root.iterdir()):
            raise InputError(f"nothing found at {where}; give the URL of a run folder of rded distill, or of a dataset")
        _require_no_writer(where)
        if not mirror.is_level():
            raise InputError(f"{where} was written while it was fetched; run the same command again")
        yield str(mirror.root)


@contextmanager
def run_as_asked(url: str) -> Generator[str]:
    """Hands a block a folder with the files alone that say what a run at a URL was asked to do, also while it runs.

    Raises:
        InputError: there is no run at the URL, or it cannot be read.
    """
    path_kind(url, attempts=FIRST_ATTEMPTS)
    names = {mark.as_posix() for mark in RunFolder(Path()).marks()}
    with _private_folder() as folder, told_with_url():
        mirror = Mirror(url, folder)
        require_run(mirror, may_be_new=False)
        mirror.pull(names.__contains__)
        yield str(mirror.root)


def _require_no_writer(where: str) -> None:
    """Raises InputError where somebody writes to a URL, or to the run whose dataset it is."""
    above, _, name = where.rstrip("/").rpartition("/")
    for url in (where, above) if name == RunFolder(Path()).dataset.name else (where,):
        if writer := find_writer_at(url):
            raise InputError(f"{where} is being written by {writer}; wait until it is done")


@contextmanager
def _private_folder() -> Generator[Path]:
    """Hands a block a folder among the copies, which is removed after it, or by the next one where it was killed."""
    copies().mkdir(parents=True, exist_ok=True)
    for left in copies().glob(f"{PRIVATE}*"):
        pid = left.name.split("-")[1]
        if not (pid.isdigit() and is_running(int(pid))):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{PRIVATE}{os.getpid()}-", dir=copies()) as folder:
        yield Path(folder)


@contextmanager
def run_to_change(where: str, wanted: Wanted = everything, *, may_be_new: bool = False) -> Generator[str]:
    """Hands a block the local folder of a run, held against other writers, and sends what it changes.

    A run at a URL is changed in this machine's copy of it.

    Args:
        where: the run folder, or its URL.
        wanted: which files to fetch and send.
        may_be_new: there may be nothing yet.

    Raises:
        InputError: there is no run at the URL, it cannot be read or written, or somebody else writes there.
    """
    if not is_url(where):
        yield where
        return
    path_kind(where, attempts=FIRST_ATTEMPTS)
    where = _run_of(where)
    mirror = Mirror(where)
    require_run(mirror, may_be_new=may_be_new)
    with told_with_url(), only_writer_at(where):
        mirror.pull(wanted)
        token = _changed.set((*_changed.get(), mirror))
        try:
            with mirror.pushing(wanted):
                yield str(mirror.root)
        finally:
            _changed.reset(token)


def _run_of(where: str) -> str:
    """Returns the URL of the run that `where` is, or whose dataset it is."""
    above, _, name = where.rstrip("/").rpartition("/")
    is_dataset = name == RunFolder(Path()).dataset.name and not _holds_run(where) and _holds_run(above)
    return above if is_dataset else where


def _holds_run(url: str) -> bool:
    return any(path_kind(join_path(url, mark.as_posix())) == "file" for mark in RunFolder(Path()).marks())


def send_now(folder: Path) -> None:
    """Sends at once what was changed in the copy that a folder lies in; does nothing for folders in none."""
    for mirror in _changed.get():
        if folder.is_relative_to(mirror.root):
            mirror.push()


def require_run(mirror: Mirror, *, may_be_new: bool) -> None:
    """Raises InputError where a URL holds something else than a run; nothing is fetched or written before."""
    if _holds_run(mirror.url):
        return
    names = mirror.names()
    other = next((name for name in names if not name.startswith("work/")), None)
    if may_be_new and other is None:
        return
    if names and may_be_new:
        raise InputError(
            f"--out {mirror.url} is not empty and holds no run of rded ({other} is there); choose a new or empty one"
        )
    raise InputError(f"no run folder at {mirror.url}; give the URL that rded distill had as --out")
