"""Database of the state of files when a run folder at a URL and its local copy were last in sync."""

import sqlite3
from collections.abc import Generator, Iterable
from contextlib import closing, contextmanager
from pathlib import Path

from rded_core.errors import InputError

TIMEOUT_S = 60.0
SCHEMA = "CREATE TABLE IF NOT EXISTS level (path TEXT PRIMARY KEY, remote TEXT, mtime_ns INTEGER, num_bytes INTEGER)"

Here = tuple[int, int]
"""A local file's modification time in ns, and its size in bytes."""

Row = tuple[str, str, int, int]
"""Path, the stamp at the storage, and the local modification time in ns and size in bytes."""


class MirrorState:
    """A database of files by path; losing an entry only costs another transfer.

    Args:
        path: path of the database.

    Raises (every method):
        InputError: the database cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, tuple[str, Here]]:
        """Returns, by path, a file's stamp at the storage and its local state."""
        with self._open() as database:
            rows = database.execute("SELECT path, remote, mtime_ns, num_bytes FROM level")
            return {path: (remote, (mtime_ns, num_bytes)) for path, remote, mtime_ns, num_bytes in rows}

    def note(self, rows: Iterable[Row]) -> None:
        """Records files that are in sync now."""
        with self._open() as database:
            database.executemany("INSERT OR REPLACE INTO level VALUES (?, ?, ?, ?)", rows)

    def drop(self, paths: Iterable[str]) -> None:
        """Deletes the entries of files that are on neither side."""
        with self._open() as database:
            database.executemany("DELETE FROM level WHERE path = ?", [(path,) for path in paths])

    def clear(self) -> None:
        """Deletes all entries."""
        with self._open() as database:
            database.execute("DELETE FROM level")

    @contextmanager
    def _open(self) -> Generator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=TIMEOUT_S)) as connection, connection:
                connection.execute("PRAGMA synchronous=OFF")
                connection.execute(SCHEMA)
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise InputError(
                f"cannot use {self.path}: {error}; delete it, or set RDED_CACHE to another folder"
            ) from error
