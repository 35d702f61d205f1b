"""WebDataset sources: patterns, labels, class names, errors, ranged reads."""

import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest
from PIL import Image

from rded_core.errors import InputError
from rded_core.io.formats.images import RejectedImage
from rded_core.io.formats.shards import write_shard
from rded_core.io.sources.base import Source
from rded_core.io.sources.reading import read_item
from rded_core.io.sources.spec import open_source


def jpeg(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), (shade, 10, 200)).save(buffer, format="JPEG")
    return buffer.getvalue()


def tar_bytes(*members: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def labelled(key: str, label: str, shade: int = 5) -> list[tuple[str, bytes]]:
    return [(f"{key}.cls", label.encode()), (f"{key}.jpg", jpeg(shade))]


def write_three(folder: Path) -> Path:
    """Writes three tars with labels 0, 2 and 10, two samples each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, label in enumerate(("10", "0", "2")):
        members = [*labelled(f"s{number}a", label, 9 * number), *labelled(f"s{number}b", label, 9 * number + 4)]
        (folder / f"shard-{number:06d}.tar").write_bytes(tar_bytes(*members))
    return folder


@pytest.fixture
def memory_root() -> Iterator[str]:
    root = f"memory://rded-{uuid4().hex}"
    yield root
    fsspec.filesystem("memory").rm(root, recursive=True)


def keys(source: Source) -> list[list[str]]:
    return [[item.key for item in group] for group in source.items]


ALL_KEYS = [["s1a.jpg", "s1b.jpg"], ["s2a.jpg", "s2b.jpg"], ["s0a.jpg", "s0b.jpg"]]


@pytest.mark.parametrize("pattern", ["", "/", "/shard-{000000..000002}.tar", "/shard-*.tar", "/shard-00000?.tar"])
def test_folder_braces_and_globs_open_the_same_tars(tmp_path: Path, pattern: str) -> None:
    source = open_source(f"{write_three(tmp_path)}{pattern}")
    assert source.is_webdataset
    assert [label.folder for label in source.classes] == ["0", "2", "10"]
    assert keys(source) == ALL_KEYS


def test_braces_choose_among_tars(tmp_path: Path) -> None:
    source = open_source(f"{write_three(tmp_path)}/shard-{{000000..000001}}.tar")
    assert [label.folder for label in source.classes] == ["0", "10"]


def test_items_are_ranged_reads_of_the_tar(tmp_path: Path) -> None:
    source = open_source(str(write_three(tmp_path)))
    item = source.items[1][1]
    assert (item.key, item.in_tar, item.uri) == ("s2b.jpg", True, "shard-000002.tar/s2b.jpg")
    assert read_item(item) == jpeg(22)
    assert item.num_bytes == len(jpeg(22))
    Path(item.path).unlink()
    with pytest.raises(RejectedImage) as caught:
        read_item(item)
    assert caught.value.reason == "missing"


def test_an_image_whose_tar_became_shorter_is_rejected_as_truncated(tmp_path: Path) -> None:
    item = open_source(str(write_three(tmp_path))).items[1][1]
    with Path(item.path).open("r+b") as stream:
        stream.truncate(item.offset + item.num_bytes - 1)
    with pytest.raises(RejectedImage) as caught:
        read_item(item)
    assert caught.value.reason == "truncated"


@pytest.mark.parametrize("field", ["class_index", "label", "cls", "class", "class_id"])
def test_labels_may_come_from_json(tmp_path: Path, field: str) -> None:
    samples = [(f"{key}.json", json.dumps({"width": 8, field: value}).encode()) for key, value in (("a", 1), ("b", 0))]
    (tmp_path / "x.tar").write_bytes(tar_bytes(*samples, ("a.jpg", jpeg(1)), ("b.png", jpeg(2))))
    source = open_source(str(tmp_path / "x.tar"))
    assert keys(source) == [["b.png"], ["a.jpg"]]


@pytest.mark.parametrize("json_first", [True, False])
def test_cls_wins_over_json(tmp_path: Path, json_first: bool) -> None:
    described = ("a.json", b'{"label": "wrong"}')
    own = labelled("a", "right")
    members = [described, *own] if json_first else [*own, described]
    (tmp_path / "x.tar").write_bytes(tar_bytes(*members, *labelled("b", "other")))
    assert [label.folder for label in open_source(str(tmp_path)).classes] == ["other", "right"]


def test_text_labels_are_sorted_class_names(tmp_path: Path) -> None:
    members = [*labelled("a", "zebra"), *labelled("b", "ant\n"), *labelled("c", "n01440764")]
    (tmp_path / "x.tar").write_bytes(tar_bytes(*members))
    classes = open_source(str(tmp_path)).classes
    assert [label.name for label in classes] == ["ant", "tench", "zebra"]
    assert classes[1].wnid == "n01440764"


@pytest.mark.parametrize("place", ["shards/classes.json", "classes.json"])
def test_classes_json_next_to_or_above_the_tars_names_integer_labels(tmp_path: Path, place: str) -> None:
    write_three(tmp_path / "shards")
    entries = [{"index": index, "folder": f"class {index}"} for index in (0, 2, 10, 11)]
    (tmp_path / place).write_text(json.dumps(entries))
    source = open_source(str(tmp_path / "shards"))
    assert [label.name for label in source.classes] == ["class 0", "class 2", "class 10"]
    assert keys(source) == ALL_KEYS


@pytest.mark.parametrize("content", ['{"0": "cat", "2": "dog", "10": "cow"}', "[1, 2]", '[{"name": "cat"}]'])
def test_a_malformed_classes_json_is_handled(tmp_path: Path, content: str) -> None:
    write_three(tmp_path)
    (tmp_path / "classes.json").write_text(content)
    try:
        names = [label.name for label in open_source(str(tmp_path)).classes]
    except InputError:
        return
    assert names in (["0", "2", "10"], ["cat", "dog", "cow"])


def test_samples_without_a_label_are_counted(tmp_path: Path) -> None:
    members = [*labelled("a", "0"), *labelled("b", "1"), ("c.jpg", jpeg(3)), ("d.jpg", jpeg(4)), ("d.json", b"{}")]
    (tmp_path / "x.tar").write_bytes(tar_bytes(*members))
    source = open_source(str(tmp_path))
    assert (source.num_items, source.num_ignored_files) == (2, 2)


def test_a_tar_without_labels_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(tar_bytes(("a.jpg", jpeg(1)), ("b.cls", b"0")))
    with pytest.raises(InputError, match=r"both an image and a label .*; samples without a label: 1; samples"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("second", ["0", "1"])
def test_a_key_in_two_tars_is_an_error(tmp_path: Path, second: str) -> None:
    (tmp_path / "x.tar").write_bytes(tar_bytes(*labelled("a", "0"), *labelled("b", "1")))
    (tmp_path / "y.tar").write_bytes(tar_bytes(*labelled("a", second), *labelled("c", "1")))
    with pytest.raises(InputError, match=r"'a\.jpg' appears in"):
        open_source(str(tmp_path))


def test_a_repeated_key_in_one_tar_is_an_error(tmp_path: Path) -> None:
    members = [*labelled("a", "0", 1), *labelled("b", "1", 2), *labelled("a", "0", 3)]
    (tmp_path / "x.tar").write_bytes(tar_bytes(*members))
    with pytest.raises(InputError, match="appears"):
        open_source(str(tmp_path))


@pytest.mark.parametrize(
    "content", [gzip.compress(tar_bytes(("a.jpg", b"x"))), b"no tar at all" * 100, b""], ids=["gzip", "text", "empty"]
)
def test_a_file_that_is_not_a_plain_tar_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(InputError, match="is not a plain tar"):
        open_source(str(tmp_path))


def test_a_truncated_tar_is_an_error(tmp_path: Path) -> None:
    whole = tar_bytes(*labelled("a", "0"), *labelled("b", "1"), *labelled("c", "1"))
    (tmp_path / "x.tar").write_bytes(whole[: 512 * 9 + 100])
    with pytest.raises(InputError, match=r"x\.tar is damaged or cut off at byte \d+: .*; fetch or pack it again"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("pattern", ["none-*.tar", "shard-{000000..000005}.tar", "absent.tar"])
def test_patterns_that_match_nothing_are_errors(tmp_path: Path, pattern: str) -> None:
    write_three(tmp_path)
    with pytest.raises(InputError, match="no such tar") as caught:
        open_source(f"{tmp_path}/{pattern}")
    remedies = {
        "none-*.tar": r"pass a folder, or a pattern (* ? [] {}) of .tar files",
        "absent.tar": "check the path",
        "shard-{000000..000005}.tar": f"check the pattern '{tmp_path}/shard-{{000000..000005}}.tar'",
    }
    assert str(caught.value).endswith(f"; {remedies[pattern]}")
    assert str(caught.value).count(pattern) == 1


@pytest.mark.parametrize("pattern", ["", "/shard-{000000..000002}.tar", "/shard-*.tar"])
def test_remote_tars_read_like_local_ones(tmp_path: Path, memory_root: str, pattern: str) -> None:
    filesystem = fsspec.filesystem("memory")
    for path in write_three(tmp_path).glob("*.tar"):
        filesystem.pipe(f"{memory_root}/{path.name}", path.read_bytes())
    source = open_source(f"{memory_root}{pattern}")
    assert keys(source) == ALL_KEYS
    assert source.digest() == open_source(str(tmp_path)).digest()
    item = source.items[1][1]
    assert read_item(item) == jpeg(22)
    filesystem.rm(item.path)
    with pytest.raises(RejectedImage) as caught:
        read_item(item)
    assert caught.value.reason == "missing"


@pytest.mark.parametrize("place", ["shards/classes.json", "classes.json"])
def test_classes_json_is_found_on_remote_storage(tmp_path: Path, memory_root: str, place: str) -> None:
    filesystem = fsspec.filesystem("memory")
    for path in write_three(tmp_path).glob("*.tar"):
        filesystem.pipe(f"{memory_root}/shards/{path.name}", path.read_bytes())
    entries = [{"index": index, "folder": f"class {index}"} for index in (0, 2, 10)]
    filesystem.pipe(f"{memory_root}/{place}", json.dumps(entries).encode())
    source = open_source(f"{memory_root}/shards")
    assert [label.name for label in source.classes] == ["class 0", "class 2", "class 10"]


def test_class_names_in_the_samples_name_integer_labels(tmp_path: Path) -> None:
    described = [json.dumps({"class_name": name}).encode() for name in ("ant", "bee")]
    samples = [(f"k{row}", {"jpg": b"x", "cls": str(row % 2).encode(), "json": described[row % 2]}) for row in range(4)]
    write_shard(tmp_path / "a.tar", samples)
    assert [label.folder for label in open_source(str(tmp_path)).classes] == ["ant", "bee"]
    samples[0][1]["json"] = described[1]
    write_shard(tmp_path / "a.tar", samples)
    assert [label.folder for label in open_source(str(tmp_path)).classes] == ["0", "1"], "two names for one class"
