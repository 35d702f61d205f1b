"""Run folders and datasets at URLs, for what works on local ones alone."""

from collections.abc import Generator
from contextlib import contextmanager, nullcontext

from rded_core.errors import InputError
from rded_core.io.mirrors import Mirror, told_with_url
from rded_core.io.remote_locks import only_writer_at
from rded_core.io.storage import is_url


@contextmanager
def local_folder(where: str, *, changes: bool = False, fresh: bool = False) -> Generator[str]:
    """Hands a block a local folder: the one that is named, or this machine's copy of what is at a URL.

    Args:
        where: a folder, or the URL of one.
        changes: the block changes files, which are written to the URL after it.
        fresh: fetch every file, whatever was fetched before.

    Raises:
        InputError: there is nothing at the URL, it cannot be read or written, or somebody else writes there.
    """
    if not is_url(where):
        yield where
        return
    mirror = Mirror(where)
    with told_with_url(), only_writer_at(where) if changes else nullcontext():
        mirror.pull(fresh=fresh)
        if not any(mirror.root.iterdir()):
            raise InputError(f"nothing found at {where}; give the URL of a run folder of rded distill, or of a dataset")
        try:
            yield str(mirror.root)
        finally:
            if changes:
                mirror.push()
