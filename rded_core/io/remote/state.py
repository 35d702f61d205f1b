"""What files were when a run folder at a URL and this machine's copy of it were last level: a small database."""

import sqlite3
from collections.abc import Generator, Iterable
from contextlib import closing, contextmanager
from pathlib import Path

from rded_core.errors import InputError

TIMEOUT_S = 60.0
SCHEMA = "CREATE TABLE IF NOT EXISTS level (path TEXT PRIMARY KEY, remote TEXT, mtime_ns INTEGER, num_bytes INTEGER)"

Here = tuple[int, int]
"""A local file's time of change in ns, and its size."""

Row = tuple[str, str, int, int]
"""Path, what the storage says of when and as what it was written, and what it was here."""


class MirrorState:
    """A database of files by path; what is lost of it costs another transfer, and no more.

    Args:
        path: where it lies.

    Raises (of every method):
        InputError: it cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, tuple[str, Here]]:
        """Returns, by path, a file's stamp at the storage and here."""
        with self._open() as database:
            found = database.execute("SELECT path, remote, mtime_ns, num_bytes FROM level")
            return {path: (remote, (mtime_ns, num_bytes)) for path, remote, mtime_ns, num_bytes in found}

    def note(self, rows: Iterable[Row]) -> None:
        """Notes files that are level now."""
        with self._open() as database:
            database.executemany("INSERT OR REPLACE INTO level VALUES (?, ?, ?, ?)", rows)

    def drop(self, paths: Iterable[str]) -> None:
        """Forgets files that are on neither side."""
        with self._open() as database:
            database.executemany("DELETE FROM level WHERE path = ?", [(path,) for path in paths])

    def clear(self) -> None:
        """Forgets all files."""
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
