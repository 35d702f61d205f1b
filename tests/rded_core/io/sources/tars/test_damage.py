"""Tars that are damaged, cut off, joined or without an end mark: nothing is lost without a word."""

import io
import tarfile
from pathlib import Path

import pytest

from rded_core.errors import InputError
from rded_core.io.formats import shards
from rded_core.io.formats.shards import DamagedTarError, read_shard
from rded_core.io.sources.base import describe_passed_over
from rded_core.io.sources.spec import open_source

NUM_SAMPLES = 6
BLOCK = tarfile.BLOCKSIZE
MEMBER = 2 * BLOCK
"""Bytes of a member: its header, and data of at most a block."""

END = 2 * NUM_SAMPLES * MEMBER
"""Byte at which the end mark begins."""


def tar_bytes(first: str = "s") -> bytes:
    """Returns a tar of six samples of two classes, padded to 10240 bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for number in range(NUM_SAMPLES):
            for ending, data in (("jpg", b"image"), ("cls", b"%d" % (number % 2))):
                info = tarfile.TarInfo(f"{first}{number}.{ending}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def with_bytes(at: int, data: bytes) -> bytes:
    whole = bytearray(tar_bytes())
    whole[at : at + len(data)] = data
    return bytes(whole)


DAMAGED = {
    "a wrong checksum": (with_bytes(8 * MEMBER + 148, b"7777777"), 8 * MEMBER),
    "a wrong checksum of the second member": (with_bytes(MEMBER + 148, b"7777777"), MEMBER),
    "a block of zeros": (with_bytes(8 * MEMBER, bytes(BLOCK)), 8 * MEMBER),
    "a hole": (with_bytes(4 * MEMBER, bytes(4 * MEMBER)), 4 * MEMBER),
    "a byte in the padding": (with_bytes(END + 5000, b"x"), END),
    "two tars joined": (tar_bytes() + tar_bytes("t"), END),
    "a cut inside a header": (tar_bytes()[: 8 * MEMBER + 200], 8 * MEMBER),
    "a cut inside the data": (tar_bytes()[: 8 * MEMBER + BLOCK + 3], 8 * MEMBER),
    "a cut after a header": (tar_bytes()[: 8 * MEMBER + BLOCK], 8 * MEMBER),
}


@pytest.mark.parametrize(("data", "at"), DAMAGED.values(), ids=DAMAGED)
def test_damage_is_an_error_that_names_tar_and_byte(tmp_path: Path, data: bytes, at: int) -> None:
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(InputError, match=rf"a\.tar is damaged or cut off at byte {at}: .*; fetch or pack") as caught:
        open_source(str(tmp_path))
    assert "\n" not in str(caught.value)
    with pytest.raises(DamagedTarError):
        list(read_shard(tmp_path / "a.tar"))


@pytest.mark.parametrize("num_zeros", [1, 512, 1024, 20480, 3 << 20])
def test_zeros_of_any_usual_number_end_a_tar(tmp_path: Path, num_zeros: int) -> None:
    (tmp_path / "a.tar").write_bytes(tar_bytes()[:END] + bytes(num_zeros))
    source = open_source(str(tmp_path))
    assert (source.num_items, source.passed_over) == (NUM_SAMPLES, ())


def test_a_download_that_was_not_finished_is_an_error(tmp_path: Path) -> None:
    with (tmp_path / "a.tar").open("wb") as stream:
        stream.write(tar_bytes()[: 8 * MEMBER])
        stream.truncate(1 << 30)
    with pytest.raises(InputError, match=r"at byte 8192: 107373\d+ bytes follow that seem never to have been written;"):
        open_source(str(tmp_path))


def test_a_tar_without_an_end_mark_is_read_and_shown(tmp_path: Path) -> None:
    for name, members in (("a", 4), ("b", 8), ("c", 12)):
        (tmp_path / f"{name}.tar").write_bytes(tar_bytes(name)[: members * MEMBER])
    (tmp_path / "d.tar").write_bytes(tar_bytes("d"))
    source = open_source(str(tmp_path))
    assert source.num_items == 2 + 4 + 6 + 6
    (line,) = describe_passed_over(source)
    assert line == "rest of tars without an end mark, which may be cut off: 3 (the first: a.tar)"


class CountedReads(io.FileIO):
    """A file that counts the bytes that are read from it."""

    num_bytes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size) or b""
        self.num_bytes += len(data)
        return data


@pytest.mark.parametrize("damage", [b"", b"x"])
def test_only_headers_and_the_tail_are_read(tmp_path: Path, damage: bytes) -> None:
    """A large tar at a URL costs one more read, of its padding; one that is damaged early, one of a megabyte."""
    image = tarfile.TarInfo("a.jpg")
    image.size = 64 << 20
    with (tmp_path / "a.tar").open("wb") as stream:
        for _ in range(4):
            stream.write(image.tobuf())
            stream.seek(image.size, io.SEEK_CUR)
        stream.write(damage)
        stream.truncate(stream.tell() + (8 << 20 if damage else 10240))
    counted = CountedReads(tmp_path / "a.tar")
    if damage:
        with counted, pytest.raises(DamagedTarError):
            list(shards.read_members(counted))
        assert counted.num_bytes < 2 << 20
    else:
        with counted:
            assert len(list(shards.read_members(counted))) == 4
        assert counted.num_bytes < 20000
