"""Reads an item of any source, alone or together with others."""

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from rded_core.errors import InputError
from rded_core.io.formats.images import RejectedImage
from rded_core.io.sources.base import SourceItem
from rded_core.io.sources.parquet.gathered import gather_rows
from rded_core.io.sources.parquet.rows import read_parquet_row
from rded_core.io.sources.torchvision_sets import read_torchvision_row
from rded_core.io.storage.remote_file import read_bytes

Reader = Callable[[SourceItem], bytes]
"""Returns the stored bytes of an item, as `read_item` does."""


def read_item(item: SourceItem) -> bytes:
    """Returns the stored bytes of an item.

    Raises:
        RejectedImage: ``missing`` if it has vanished since the source was listed, ``truncated`` if its tar has
            become shorter.
        InputError: the storage failed, and not only briefly.
    """
    try:
        if item.path.startswith("torchvision:"):
            return read_torchvision_row(item)
        if item.path.endswith(".parquet"):
            return read_parquet_row(item)
        return read_bytes(item.path, offset=item.offset, num_bytes=item.num_bytes if item.in_tar else -1)
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise RejectedImage("missing", str(error)) from error
    except EOFError as error:
        raise RejectedImage("truncated", str(error)) from error
    except OSError as error:
        raise InputError(
            f"cannot read {item.uri} from the source: {error}; check the disk or the connection"
        ) from error


@contextmanager
def read_together(items: Iterable[SourceItem], folder: Path) -> Generator[Reader]:
    """Yields a form of `read_item` for a block in which many items are read in any order.

    Rows of tables are read beforehand, each row group once: in a shuffled table, every class has rows in every group.
    Their images lie in a temporary file in `folder` meanwhile. Items that are not among `items` are read as always.
    """
    rows = [item for item in items if item.path.endswith(".parquet")]
    if not rows:
        yield read_item
        return
    with gather_rows(rows, folder) as gathered:

        def read(item: SourceItem) -> bytes:
            data = gathered.read(item)
            return read_item(item) if data is None else data

        yield read
