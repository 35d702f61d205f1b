"""The images in the rows of Parquet files, read by row group."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from threading import Condition

import pyarrow as pa
from cachetools import LRUCache, cached

from rded_core.io.sources.base import SourceItem
from rded_core.io.sources.parquet.columns import errors_of, find_image_column, image_of, open_table
from rded_core.io.storage.files import file_stamp
from rded_core.io.storage.urls import is_url

KEPT_BYTES = 2**28
"""Row groups up to this size together are kept; at least one is."""


def read_parquet_row(item: SourceItem) -> bytes:
    """Returns the image bytes of one row; empty if it holds none."""
    return read_group_rows([item])[0]


def read_group_rows(items: Sequence[SourceItem]) -> list[bytes]:
    """Returns the image bytes of several rows of one row group, which is read once."""
    places = [_place_of(item) for item in items]
    path = items[0].path
    rows = _read_group(path, _state_of(path), places[0][0])
    if max(row for _, row in places) >= len(rows):
        raise EOFError(f"{path} has no row {items[-1].offset}")
    return [image_of(rows[row].as_py()) for _, row in places]


def items_by_group(items: Iterable[SourceItem]) -> Iterator[list[SourceItem]]:
    """Yields the items of each row group together, in file order."""
    groups: defaultdict[tuple[str, int], list[SourceItem]] = defaultdict(list)
    for item in items:
        groups[item.path, _place_of(item)[0]].append(item)
    for key in sorted(groups):
        yield groups[key]


def _place_of(item: SourceItem) -> tuple[int, int]:
    """Returns the row group of an item, and its row in there."""
    starts = _row_group_starts(item.path, _state_of(item.path))
    group = bisect_right(starts, item.offset) - 1
    return group, item.offset - starts[group]


def _state_of(path: str) -> tuple[int, int]:
    """Returns what changes when a file is rewritten, so that nothing old is taken for it; not asked of URLs."""
    return (0, 0) if is_url(path) else file_stamp(path)


@lru_cache(maxsize=256)
def _row_group_starts(path: str, state: tuple[int, int]) -> tuple[int, ...]:
    del state
    table = open_table(path)
    rows = [table.metadata.row_group(group).num_rows for group in range(table.metadata.num_row_groups)]
    return (0, *accumulate(rows[:-1]))


def _kept_size(rows: pa.ChunkedArray) -> int:
    return min(rows.nbytes, KEPT_BYTES)


@cached(LRUCache(KEPT_BYTES, getsizeof=_kept_size), condition=Condition(), info=True)
def _read_group(path: str, state: tuple[int, int], group: int) -> pa.ChunkedArray:
    del state
    with errors_of(path):
        table = open_table(path)
        column = find_image_column(table.schema_arrow, path=path)
        return table.read_row_group(group, columns=[column])[column]
