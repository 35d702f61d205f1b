"""Reads an item of any source, given the item alone."""

from rded_core.errors import InputError
from rded_core.io.formats.images import RejectedImage
from rded_core.io.sources.base import SourceItem
from rded_core.io.sources.parquet_files import read_parquet_row
from rded_core.io.sources.torchvision_sets import read_torchvision_row
from rded_core.io.storage.remote_file import read_bytes


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
