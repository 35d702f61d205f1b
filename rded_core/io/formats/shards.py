"""WebDataset shards: byte-deterministic tars, with the byte ranges of their members."""

import io
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from rded_core.errors import InputError, first_line
from rded_core.io.storage.atomic import write_atomically

BUFFER_BYTES = 1 << 20

Sample = tuple[str, dict[str, bytes]]
"""A key, and the bytes of its files by extension."""


class WrittenShard(NamedTuple):
    """Contents of a tar: number of samples, and by each member's name the offset and number of its bytes."""

    num_samples: int
    members: dict[str, tuple[int, int]]


def write_shard(path: Path, samples: Iterable[Sample]) -> WrittenShard:
    """Writes samples to a tar in the order given.

    Same samples, same bytes: USTAR, no times, fixed owner and mode, extensions sorted inside a sample. Only one
    sample is in memory; headers come from tarfile, whose own writer copies every image four times.
    """
    members: dict[str, tuple[int, int]] = {}
    count = 0

    def write(temporary: Path) -> None:
        nonlocal count
        with temporary.open("wb", buffering=BUFFER_BYTES) as stream:
            for key, files in samples:
                for extension in sorted(files):
                    name, data = f"{key}.{extension}", files[extension]
                    stream.write(_header(name, len(data)))
                    members[name] = (stream.tell(), len(data))
                    stream.write(data)
                    stream.write(bytes(-len(data) % tarfile.BLOCKSIZE))
                count += 1
            stream.write(bytes(2 * tarfile.BLOCKSIZE))
            stream.write(bytes(-stream.tell() % tarfile.RECORDSIZE))

    write_atomically(path, write)
    return WrittenShard(count, members)


def _header(name: str, num_bytes: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = num_bytes, 0o644, 0
    member.uname = member.gname = "rded"
    return member.tobuf(tarfile.USTAR_FORMAT)


class SparseMemberError(tarfile.ReadError):
    """A member is stored without its holes, so its bytes do not lie in one piece."""


def read_members(stream: io.RawIOBase | io.BufferedReader) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Yields the members of a plain tar in order, each with its archive, after checking that their bytes exist.

    tarfile trusts every header: a negative size makes it loop forever, and a size beyond the file or a hole in it (a
    sparse member) takes as much memory as it names.

    Raises:
        tarfile.TarError: the tar is damaged.
    """
    num_bytes = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    try:
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            for member in archive:
                if member.issparse():
                    raise SparseMemberError(f"member {member.name!r} is sparse: stored without its holes")
                if member.size < 0 or member.offset_data + member.size > num_bytes:
                    raise tarfile.ReadError(f"member {member.name!r} cannot have {member.size} bytes")
                yield archive, member
    except InputError:  # the storage failed, the tar may be fine
        raise
    except (ValueError, LookupError, OverflowError, MemoryError, RecursionError) as error:
        raise tarfile.ReadError(f"damaged header: {first_line(error)}") from error


def read_shard(path: Path) -> Iterator[Sample]:
    """Yields the samples of a tar in order; files of a sample are adjacent.

    Raises:
        tarfile.TarError: the tar is damaged.
    """
    current: str | None = None
    files: dict[str, bytes] = {}
    with path.open("rb") as stream:
        for archive, member in read_members(stream):
            key, _, extension = member.name.partition(".")
            if key != current and current is not None:
                yield current, files
                files = {}
            current = key
            opened = archive.extractfile(member)
            files[extension] = opened.read() if opened else b""
        if not _has_end(stream):
            raise tarfile.ReadError("the end-of-archive marker is missing")
    if current is not None:
        yield current, files


def _has_end(stream: io.RawIOBase | io.BufferedReader) -> bool:
    """Returns True if two zero blocks end the tar: tarfile takes a cut between two members for the end."""
    num_bytes = stream.seek(0, io.SEEK_END)
    stream.seek(max(num_bytes - 2 * tarfile.BLOCKSIZE, 0))
    return num_bytes >= 2 * tarfile.BLOCKSIZE and not any(stream.read())
