"""WebDataset shards: byte-deterministic tars, and where the members of a tar lie."""

import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from webdataset.writer import TarWriter

from rded_core.io.files import write_atomically

Sample = tuple[str, dict[str, bytes]]
"""Key, and the bytes of its files by extension."""


def write_shard(path: Path, samples: Iterable[Sample]) -> int:
    """Writes samples to a tar in the order given and returns how many there were.

    Same samples, same bytes: USTAR, no times, fixed owner and mode, extensions sorted inside a sample.
    """
    count = 0

    def write(temporary: Path) -> None:
        nonlocal count
        with (
            temporary.open("wb") as stream,
            TarWriter(stream, user="rded", group="rded", mode=0o644, mtime=0, encoder=False, compress=False) as writer,
        ):
            for key, files in samples:
                writer.write({"__key__": key, **files})
                count += 1

    write_atomically(path, write)
    return count


def read_shard(path: Path) -> Iterator[Sample]:
    """Yields the samples of a tar in order; files of a sample are adjacent.

    Raises:
        tarfile.TarError: the tar is damaged.
    """
    current: str | None = None
    files: dict[str, bytes] = {}
    with tarfile.open(path, "r:") as archive:
        for member in archive:
            key, _, extension = member.name.partition(".")
            if key != current and current is not None:
                yield current, files
                files = {}
            current = key
            opened = archive.extractfile(member)
            files[extension] = opened.read() if opened else b""
        if not _has_end(path):
            raise tarfile.ReadError("its end is missing")
    if current is not None:
        yield current, files


def _has_end(path: Path) -> bool:
    """Looks for the two zero blocks that end a tar: tarfile takes a cut between two members for the end."""
    with path.open("rb") as stream:
        stream.seek(-2 * tarfile.BLOCKSIZE, 2)
        return not any(stream.read())


def member_offsets(path: Path) -> dict[str, tuple[int, int]]:
    """Maps each member's name to where its bytes begin in the tar, and how many there are."""
    with tarfile.open(path, "r:") as archive:
        return {member.name: (member.offset_data, member.size) for member in archive}
