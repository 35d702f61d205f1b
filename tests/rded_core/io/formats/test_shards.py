"""WebDataset shards: byte determinism, format, round trip, damage."""

import io
import tarfile
from pathlib import Path

import pytest
import webdataset

from rded_core.io.formats.shards import Sample, read_shard, write_shard

SAMPLES: list[Sample] = [
    ("c00000_i00000", {"jpg": b"\xff\xd8 one", "cls": b"0", "json": b'{"a": 1}'}),
    ("c00000_i00001", {"jpg": b"x" * 1000, "cls": b"0", "json": b"{}"}),
    ("c00001_i00000", {"jpg": b"", "cls": b"1", "json": b"{}"}),
]


def test_samples_round_trip_in_order(tmp_path: Path) -> None:
    assert write_shard(tmp_path / "a.tar", SAMPLES).num_samples == 3
    assert list(read_shard(tmp_path / "a.tar")) == SAMPLES


def test_an_empty_shard_round_trips(tmp_path: Path) -> None:
    assert write_shard(tmp_path / "a.tar", []) == (0, {})
    assert list(read_shard(tmp_path / "a.tar")) == []


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", SAMPLES)
    write_shard(tmp_path / "deeper" / "b.tar", [(key, dict(reversed(files.items()))) for key, files in SAMPLES])
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "deeper" / "b.tar").read_bytes()


def test_shards_are_ustar_without_times_or_owners_of_this_machine(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", SAMPLES)
    data = (tmp_path / "a.tar").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        members = archive.getmembers()
    assert len(members) == 9
    for member in members:
        assert data[member.offset + 257 : member.offset + 265] == b"ustar\x0000"
        assert (member.mtime, member.mode, member.uname, member.gname) == (0, 0o644, "rded", "rded")
        assert (member.uid, member.gid) == (0, 0)
        assert member.isreg()


def test_members_are_adjacent_and_sorted_inside_a_sample(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", SAMPLES)
    with tarfile.open(tmp_path / "a.tar") as archive:
        names = archive.getnames()
    assert names == [f"{key}.{extension}" for key, _ in SAMPLES for extension in ("cls", "jpg", "json")]


def test_members_give_the_byte_ranges(tmp_path: Path) -> None:
    members = write_shard(tmp_path / "a.tar", SAMPLES).members
    data = (tmp_path / "a.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar", "r:") as archive:
        assert members == {member.name: (member.offset_data, member.size) for member in archive}
    for key, files in SAMPLES:
        for extension, content in files.items():
            start, size = members[f"{key}.{extension}"]
            assert data[start : start + size] == content
    assert len(data) % tarfile.RECORDSIZE == 0


def test_webdataset_itself_reads_our_shards(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", SAMPLES)
    read = list(webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False))
    assert [(sample["__key__"], {name: sample[name] for name in ("jpg", "cls", "json")}) for sample in read] == SAMPLES


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> list[Sample]:
        raise RuntimeError("no more samples")

    with pytest.raises(RuntimeError, match="no more samples"):
        write_shard(tmp_path / "a.tar", (sample for part in (lambda: SAMPLES, failing) for sample in part()))
    assert list(tmp_path.iterdir()) == []


def test_a_shard_cut_anywhere_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    members = write_shard(path, SAMPLES).members
    whole = path.read_bytes()
    end = max(start + size for start, size in members.values())
    silent: list[int] = []
    for cut in range(0, end, 128):
        path.write_bytes(whole[:cut])
        try:
            list(read_shard(path))
        except tarfile.TarError:
            continue
        silent.append(cut)
    assert silent == [], "cuts that went unnoticed and lost samples"


def test_a_file_that_is_not_a_tar_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(b"no tar" * 1000)
    with pytest.raises(tarfile.TarError):
        list(read_shard(path))
