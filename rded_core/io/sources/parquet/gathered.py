"""Rows of Parquet files, gathered into one temporary file by reading each row group once."""

import logging
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from rded_core.errors import InputError
from rded_core.io.parallel import map_ordered
from rded_core.io.sources.base import SourceItem
from rded_core.io.sources.parquet.rows import items_by_group, read_group_rows
from rded_core.io.storage.files import reason_of
from rded_core.text.summaries import format_size
from rded_core.text.wording import counted

logger = logging.getLogger(__name__)

MAX_SHARE = 0.5
"""Share of the free space that gathered rows may take: what is written meanwhile may be as large."""

GROUPS_AT_ONCE = 2
"""Row groups that are read at the same time, so that memory stays bounded for any number of rows."""


class NoSpaceError(Exception):
    """The disk has no space for the images of rows."""


class GatheredRows:
    """Images copied from row groups to a file, found by their place in the table."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._places: dict[tuple[str, int], tuple[int, int]] = {}
        self._end = 0

    def add(self, item: SourceItem, data: bytes) -> None:
        """Appends the image of a row; raises NoSpaceError if it cannot be written whole."""
        try:
            num_written = self._stream.write(data)
        except OSError as error:
            raise NoSpaceError(reason_of(error)) from error
        if num_written < len(data):
            raise NoSpaceError("the disk is full")
        self._places[item.path, item.offset] = self._end, len(data)
        self._end += len(data)

    def require_space(self, num_rows: int) -> None:
        """Raises NoSpaceError if `num_rows` rows of the size seen so far would take too much of the disk."""
        status = os.fstatvfs(self._stream.fileno())
        free = status.f_bavail * status.f_frsize + self._end
        expected = self._end * num_rows / max(len(self._places), 1)
        if expected > MAX_SHARE * free:
            raise NoSpaceError(f"it would take {format_size(expected)} of {format_size(free)}")

    def forget(self) -> None:
        """Gives back the space that was taken."""
        self._places.clear()
        self._stream.truncate(0)

    def read(self, item: SourceItem) -> bytes | None:
        """Returns the image of a row, or None if it was not gathered; threads may read at the same time."""
        place = self._places.get((item.path, item.offset))
        return None if place is None else os.pread(self._stream.fileno(), place[1], place[0])


@contextmanager
def gather_rows(items: Sequence[SourceItem], folder: Path) -> Generator[GatheredRows]:
    """Reads rows group by group, each group once, and holds their images in an unnamed file in `folder` for the block.

    What cannot be read is left out: whoever needs such a row reads it alone and gets the reason. If the disk is too
    small, nothing is held, so that what is written in the block finds the space.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=folder, buffering=0) as stream:
        rows = GatheredRows(stream)
        logger.info("copying %s of tables to a temporary file in %s", counted(len(items), "image"), folder)
        try:
            with suppress(InputError, OSError, EOFError):
                _gather(items, rows)
        except NoSpaceError as error:
            rows.forget()
            logger.warning("images of tables are read one by one, which may be slow: no copy in %s (%s)", folder, error)
        yield rows


def _gather(items: Sequence[SourceItem], rows: GatheredRows) -> None:
    """Adds the images of rows, group by group."""
    # in stored order: class by class, each file would be opened again for every class
    groups = list(items_by_group(sorted(items, key=attrgetter("path", "offset"))))
    for group, images in zip(groups, map_ordered(read_group_rows, groups, workers=GROUPS_AT_ONCE), strict=True):
        for item, data in zip(group, images, strict=True):
            rows.add(item, data)
        rows.require_space(len(items))
