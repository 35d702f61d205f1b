"""Run folders at URLs: a copy on this machine, which all work is done in, and how the two are brought level."""

import os
import re
import sqlite3
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from rded_core.errors import InputError, first_line
from rded_core.io.dataset_files import default_cache
from rded_core.io.files import HOST, file_stamp, is_temporary, write_atomically
from rded_core.io.paths import RunFolder
from rded_core.io.retries import retry_transient
from rded_core.io.storage import is_url, join_path, open_filesystem, remote_stamp

LOCK_NAME = ".lock"
TRANSFERS = 16
"""Files on their way at a time: each waits for the network, not for a core."""

MAX_NAME_BYTES = 240
STATE_TIMEOUT_S = 60.0

Wanted = Callable[[str], bool]
"""Picks files by their POSIX path below the run folder."""

_Stamp = tuple[int, int]

SCHEMA = "CREATE TABLE IF NOT EXISTS level (path TEXT PRIMARY KEY, remote INTEGER, mtime_ns INTEGER, num_bytes INTEGER)"


def run_at(out: str) -> RunFolder:
    """Returns the run folder that ``--out`` names: for a URL, this machine's copy of it."""
    return RunFolder(mirror_root(out) if is_url(out) else Path(out))


def mirror_root(url: str) -> Path:
    """Returns where this machine keeps its copy of a run folder: below ``$RDED_CACHE``, or ``~/.cache/rded``.

    Raises:
        InputError: the URL is too long for a folder's name.
    """
    name = quote(url.rstrip("/"), safe="")
    if len(name) > MAX_NAME_BYTES:
        raise InputError(f"--out {url} is too long ({len(name)} bytes, at most {MAX_NAME_BYTES}); choose a shorter one")
    return _mirrors() / name


def as_shown(text: object) -> str:
    """Returns a path, or a text that names paths, as people know them: by its URL what lies in a copy."""
    copy = re.escape(str(_mirrors())) + r"/([^/\s'\"]+)"
    return re.sub(copy, lambda found: unquote(found[1]), str(text))


def _mirrors() -> Path:
    return default_cache().absolute() / "runs" / HOST


def everything(_: str) -> bool:
    """Picks every file."""
    return True


class _Gone(Exception):
    """A file that was removed after it was listed."""


class Mirror:
    """This machine's copy of a run folder at a URL.

    Files are compared with what they were when both sides were last level, which is kept in a small database beside the
    copy. What has been written there since comes here, even where this machine's file has changed too: a process that
    died may have left it, while others went on.

    Args:
        url: of the run folder, in any form that fsspec can write.

    Raises:
        InputError: the storage is unknown, or not installed.

    Attributes:
        url: without a slash at its end.
        root: the copy.
    """

    def __init__(self, url: str) -> None:
        self.url, self.root = url.rstrip("/"), mirror_root(url)
        self._filesystem, self._inner = open_filesystem(self.url)
        self._state = self.root.with_name(f"{self.root.name}.sqlite")

    def pull(self, wanted: Wanted = everything, *, fresh: bool = False) -> None:
        """Fetches what has been written at the URL, and removes what has been removed there.

        Args:
            wanted: which files.
            fresh: fetch all, whatever was fetched before.

        Raises:
            InputError: the storage cannot be read.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        there = {path: stamp for path, stamp in self._list().items() if wanted(path)}
        known = {path: row for path, row in self._known().items() if wanted(path)}

        def is_level(path: str) -> bool:
            stamp, *here = known.get(path, (None, 0, 0))
            here_now = file_stamp(str(self.root / path))
            changed_here = here_now not in ((0, 0), tuple(here))
            return not fresh and stamp == there[path] and (changed_here or here_now == tuple(here))

        self._each(self._fetch, [(path, there[path]) for path in there if not is_level(path)])
        for path in known.keys() - there.keys():
            if fresh or file_stamp(str(self.root / path)) == known[path][1:]:
                (self.root / path).unlink(missing_ok=True)
        self._forget(known.keys() - there.keys())

    def push(self, wanted: Wanted = everything) -> None:
        """Writes to the URL what has changed here since both were level, and removes there what was removed here.

        Records come after the files that they vouch for, and a dataset's checksums last of all: until they are there,
        nobody takes it for whole.

        Raises:
            InputError: the storage cannot be written.
        """
        known = {path: row for path, row in self._known().items() if wanted(path)}
        here = {path: stamp for path, stamp in self._files() if wanted(path)}
        changed = [path for path, stamp in here.items() if path not in known or known[path][1:] != stamp]
        gone = sorted(known.keys() - here.keys())
        touched = {sums for path in (*changed, *gone) if (sums := _sums_beside(path))}
        self._each(self._remove, [(path,) for path in touched & known.keys()])
        to_send = {*changed, *(touched & here.keys())}
        for rank in (FIRST, RECORD):
            self._each(self._send, [(path, here[path]) for path in to_send if _rank(path) == rank])
        self._each(self._remove, [(path,) for path in gone if path not in touched])
        self._each(self._send, [(path, here[path]) for path in to_send if _rank(path) == SUMS])

    @contextmanager
    def level(self, wanted: Wanted = everything) -> Generator[None]:
        """Fetches before a block, and sends what it wrote after it, also where it fails: what is done is kept."""
        with told_with_url():
            self.pull(wanted)
            try:
                yield
            finally:
                self.push(wanted)

    def _list(self) -> dict[str, int]:
        self._filesystem.invalidate_cache()
        try:
            found: dict[str, Any] = self._ask(lambda: self._filesystem.find(self._inner, detail=True), "list")
        except FileNotFoundError:
            return {}
        prefix = self._inner.rstrip("/") + "/"
        stamps = {path.removeprefix(prefix): remote_stamp(entry) for path, entry in found.items()}
        return {path: stamp for path, stamp in stamps.items() if _is_ours(path)}

    def _files(self) -> Iterable[tuple[str, _Stamp]]:
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = Path(folder, name)
                relative = path.relative_to(self.root).as_posix()
                if _is_ours(relative) and not is_temporary(path) and (stamp := file_stamp(str(path))) != (0, 0):
                    yield relative, stamp

    def _fetch(self, path: str, stamp: int) -> None:
        target, inner = self.root / path, join_path(self._inner, path)

        def fetch(temporary: Path) -> None:
            try:
                self._ask(lambda: self._filesystem.get_file(inner, str(temporary)), "read")
            except FileNotFoundError as error:
                raise _Gone from error

        try:
            write_atomically(target, fetch)
        except _Gone:
            return
        self._note(path, stamp, file_stamp(str(target)))

    def _send(self, path: str, stamp: _Stamp) -> None:
        inner = join_path(self._inner, path)
        source = str(self.root / path)
        self._ask(lambda: self._filesystem.put_file(source, inner), "write")
        self._filesystem.invalidate_cache(inner)
        self._note(path, remote_stamp(self._ask(lambda: self._filesystem.info(inner), "read")), stamp)

    def _remove(self, path: str) -> None:
        with suppress(FileNotFoundError):  # somebody else has
            self._ask(lambda: self._filesystem.rm_file(join_path(self._inner, path)), "write")
        self._forget([path])

    def _ask(self, action: Callable[[], Any], doing: str) -> Any:
        """Asks the storage, again where it is busy.

        Raises:
            FileNotFoundError: there is nothing at that path.
            InputError: anything else.
        """
        try:
            return retry_transient(action, self.url, doing=doing)
        except (FileNotFoundError, InputError):
            raise
        except (OSError, ValueError, NotImplementedError) as error:
            raise InputError(
                f"cannot {doing} {self.url}: {first_line(error)}; check the address and your rights"
            ) from error

    def _each(self, action: Callable[..., None], rows: list[Any]) -> None:
        with ThreadPoolExecutor(TRANSFERS, thread_name_prefix="mirror") as pool:
            for _ in pool.map(lambda row: action(*row), rows):
                pass

    @contextmanager
    def _database(self) -> Generator[sqlite3.Connection]:
        self._state.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self._state, timeout=STATE_TIMEOUT_S)) as connection, connection:
            connection.execute(SCHEMA)
            yield connection

    def _known(self) -> dict[str, tuple[int, int, int]]:
        with self._database() as database:
            return {path: (remote, mtime_ns, size) for path, remote, mtime_ns, size in database.execute(
                "SELECT path, remote, mtime_ns, num_bytes FROM level"
            )}  # fmt: skip

    def _note(self, path: str, remote: int, here: _Stamp) -> None:
        with self._database() as database:
            database.execute("INSERT OR REPLACE INTO level VALUES (?, ?, ?, ?)", (path, remote, *here))

    def _forget(self, paths: Iterable[str]) -> None:
        with self._database() as database:
            database.executemany("DELETE FROM level WHERE path = ?", [(path,) for path in paths])


FIRST, RECORD, SUMS = range(3)


def _rank(path: str) -> int:
    """Returns when a file is sent: what records vouch for, then records and descriptions, then a dataset's sums."""
    name = path.rpartition("/")[2]
    return SUMS if name == "SHA256SUMS" else RECORD if name.endswith(".json") else FIRST


def _sums_beside(path: str) -> str:
    """Returns the checksums of the dataset that a file is part of; nothing for the checksums, and other files."""
    above, found, _ = f"/{path}".partition("/dataset/")
    return f"{above}/dataset/SHA256SUMS".lstrip("/") if found and _rank(path) != SUMS else ""


def _is_ours(path: str) -> bool:
    """Tells whether a file belongs to both sides: neither a lock, nor of a dataset that is being put together."""
    is_being_made = "/work/dataset/" in f"/{path}" or "/work/dataset.old/" in f"/{path}"
    return path.rpartition("/")[2] != LOCK_NAME and not is_being_made


@contextmanager
def told_with_url() -> Generator[None]:
    """Has errors of a block name what lies in a copy as its user knows it: by its URL."""
    try:
        yield
    except InputError as error:
        if as_shown(error) == str(error):
            raise
        raise InputError(as_shown(error)) from error
