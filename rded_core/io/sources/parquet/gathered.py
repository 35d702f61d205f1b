"""Rows of Parquet files, gathered into one temporary file by reading each row group once."""

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from rded_core.errors import InputError
from rded_core.io.parallel import map_ordered
from rded_core.io.sources.base import SourceItem
from rded_core.io.sources.parquet.rows import items_by_group, read_group_rows

GROUPS_AT_ONCE = 2
"""Row groups that are read at the same time, so that memory stays bounded for any number of rows."""


class GatheredRows:
    """Images copied from row groups to a file, found by their place in the table."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._places: dict[tuple[str, int], tuple[int, int]] = {}
        self._end = 0

    def add(self, item: SourceItem, data: bytes) -> None:
        """Appends the image of a row; if it finds no space, forgets all, so that others find it."""
        try:
            if self._stream.write(data) < len(data):
                raise OSError(f"no space for {item.key}")
        except OSError:
            self._places.clear()
            self._stream.truncate(0)
            raise
        self._places[item.path, item.offset] = self._end, len(data)
        self._end += len(data)

    def read(self, item: SourceItem) -> bytes | None:
        """Returns the image of a row, or None if it was not gathered; threads may read at the same time."""
        place = self._places.get((item.path, item.offset))
        return None if place is None else os.pread(self._stream.fileno(), place[1], place[0])


@contextmanager
def gather_rows(items: Sequence[SourceItem], folder: Path) -> Generator[GatheredRows]:
    """Reads rows group by group, each group once, and holds their images in an unnamed file in `folder` for the block.

    What cannot be read is left out: whoever needs such a row reads it alone and gets the reason. On a full disk nothing
    is held, so that what is written in the block finds the space.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=folder, buffering=0) as stream:
        rows = GatheredRows(stream)
        with suppress(InputError, OSError, EOFError):
            groups = list(items_by_group(items))
            for group, images in zip(groups, map_ordered(read_group_rows, groups, workers=GROUPS_AT_ONCE), strict=True):
                for item, data in zip(group, images, strict=True):
                    rows.add(item, data)
        yield rows
