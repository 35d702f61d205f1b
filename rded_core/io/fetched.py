"""Files that users name by URL, for readers that need a path: fetched once, and kept."""

import hashlib
from pathlib import Path

from rded_core.errors import InputError, first_line
from rded_core.io.dataset_files import default_cache
from rded_core.io.files import write_atomically
from rded_core.io.storage import is_url, read_bytes, stamp_of


def local_copy(path: str) -> str:
    """Returns a path of the file that `path`, local or a URL, names; one that was written anew is fetched anew.

    Raises:
        InputError: it is not there, or cannot be read.
    """
    if not is_url(path):
        return path
    key = hashlib.sha256(f"{path} {stamp_of(path)}".encode()).hexdigest()[:16]
    copy = default_cache() / "files" / key / Path(path).name
    if not copy.is_file():
        try:
            data = read_bytes(path)
        except FileNotFoundError as error:
            raise InputError(f"no such file: {path}") from error
        except (OSError, EOFError) as error:
            raise InputError(f"cannot read {path}: {first_line(error)}; check the address and your rights") from error
        write_atomically(copy, lambda temporary: temporary.write_bytes(data))
    return str(copy)
