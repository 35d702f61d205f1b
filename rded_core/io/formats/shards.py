"""WebDataset shards: byte-deterministic tars, with the byte ranges of their members."""

import io
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from rded_core.errors import InputError, first_line
from rded_core.io.storage.atomic import write_atomically

BUFFER_BYTES = 1 << 20

MAX_PADDING_BYTES = 16 << 20
"""Zeros that may follow the last member of a tar: no writer adds more, but downloads that were not finished do."""

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


HEADER_ERRORS = (ValueError, LookupError, OverflowError, MemoryError, RecursionError)
"""What tarfile raises for damaged headers besides its own errors."""


class SparseMemberError(tarfile.ReadError):
    """A member is stored without its holes, so its bytes do not lie in one piece."""


class DamagedTarError(tarfile.ReadError):
    """A tar begins as one, but cannot be read from byte `at` on."""

    def __init__(self, at: int, problem: str) -> None:
        super().__init__(problem)
        self.at = at


def read_members(stream: io.RawIOBase | io.BufferedReader) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Yields the members of a plain tar in order, each with its archive, after checking that their bytes exist.

    tarfile trusts every header: a negative size makes it loop forever, and a size beyond the file or a hole in it (a
    sparse member) takes as much memory as it names. It also takes a damaged header for the end.

    Raises:
        tarfile.TarError: the tar is damaged.
    """
    num_bytes = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    try:
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            for member in _sound_members(archive, num_bytes):
                yield archive, member
            _require_zeros(stream, archive.offset, num_bytes)
    except InputError:  # the storage failed, the tar may be fine
        raise
    except HEADER_ERRORS as error:
        raise tarfile.ReadError(f"damaged header: {first_line(error)}") from error


def has_end_mark(archive: tarfile.TarFile, stream: io.RawIOBase | io.BufferedReader) -> bool:
    """Returns True if zeros follow the last member of a tar all of whose members were read."""
    return archive.offset < stream.seek(0, io.SEEK_END)


def _sound_members(archive: tarfile.TarFile, num_bytes: int) -> Iterator[tarfile.TarInfo]:
    """Yields the members of an archive; raises DamagedTarError for one whose header or bytes cannot be right."""
    try:
        for member in archive:
            if member.issparse():
                raise SparseMemberError(f"member {member.name!r} is sparse: stored without its holes")
            if member.size < 0 or member.offset_data + member.size > num_bytes:
                raise DamagedTarError(member.offset, f"member {member.name!r} cannot have {member.size} bytes")
            yield member
    except (InputError, SparseMemberError, DamagedTarError):
        raise
    except tarfile.TarError as error:
        raise DamagedTarError(min(archive.offset, num_bytes), first_line(error)) from error
    except HEADER_ERRORS as error:
        raise DamagedTarError(min(archive.offset, num_bytes), f"damaged header: {first_line(error)}") from error


def _require_zeros(stream: io.RawIOBase | io.BufferedReader, start: int, num_bytes: int) -> None:
    """Raises DamagedTarError if more than padding follows `start`, the byte at which reading stopped."""
    stream.seek(start)
    end = min(num_bytes, start + MAX_PADDING_BYTES)
    for at in range(start, end, BUFFER_BYTES):
        if (stream.read(min(BUFFER_BYTES, end - at)) or b"").strip(b"\0"):
            raise DamagedTarError(start, "no member begins there, but bytes other than zeros follow")
    if num_bytes > end:
        raise DamagedTarError(start, f"{num_bytes - start} bytes follow that seem never to have been written")


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
