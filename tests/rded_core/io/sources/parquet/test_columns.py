"""What the columns of Parquet sources may hold: names of their own, bytes in several types, paths alone, labels."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from rded_core.errors import InputError
from rded_core.io.sources.base import Source
from rded_core.io.sources.reading import read_item
from rded_core.io.sources.spec import open_source

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (5, 4), (shade, shade, 0)).save(buffer, format="PNG")
    return buffer.getvalue()


PNG_BYTES = max(len(png(shade)) for shade in (0, 1))


def padded(data: bytes) -> bytes:
    return data.ljust(PNG_BYTES, b"\0")


def write(path: Path, labels: Sequence[Any] | pa.Array, *, images: Any = None, names: list[str] | None = None) -> None:
    """Writes one image per label; row n has shade n."""
    images = [png(row) for row in range(len(labels))] if images is None else images
    table = pa.table({"image": images, "label": labels})
    if names is not None:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def listing(source: Source) -> dict[str, list[str]]:
    return {
        label.folder: [item.key for item in items] for label, items in zip(source.classes, source.items, strict=True)
    }


def test_each_file_numbers_its_classes_its_own_way(tmp_path: Path) -> None:
    for number in range(4):
        names = ["dog", "cat"] if number == 3 else ["cat", "dog"]
        write(tmp_path / f"train-0000{number}-of-00004.parquet", [0, 1], names=names)
    found = listing(open_source(str(tmp_path)))
    assert list(found) == ["cat", "dog"], "the order of the first file"
    assert found["cat"] == [f"train-0000{n}-of-00004.parquet#0000000{int(n == 3)}" for n in range(4)]
    assert found["dog"] == [f"train-0000{n}-of-00004.parquet#0000000{int(n != 3)}" for n in range(4)]


def test_a_later_file_without_some_of_the_classes_is_sound(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [2, 0], names=["cat", "dog", "eel"])
    write(tmp_path / "b.parquet", [0, 0], names=["eel", "dog", "cat"])
    assert {name: len(keys) for name, keys in listing(open_source(str(tmp_path))).items()} == {"cat": 1, "eel": 3}


@pytest.mark.parametrize("other", [["cat", "eel"], ["cat", "dog", "eel"]])
def test_files_that_name_different_classes_are_an_error(tmp_path: Path, other: list[str]) -> None:
    write(tmp_path / "a.parquet", [0, 1], names=["cat", "dog"])
    write(tmp_path / "b.parquet", [0, 1], names=other)
    with pytest.raises(InputError, match=r"a\.parquet and .*b\.parquet name different classes .*second: 'eel'"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("first", ["a", "b"])
def test_numbers_without_names_beside_named_ones_are_an_error(tmp_path: Path, first: str) -> None:
    write(tmp_path / f"{first}.parquet", [0, 1], names=["cat", "dog"])
    write(tmp_path / f"{'ab'.replace(first, '')}.parquet", [0, 1])
    with pytest.raises(InputError, match="has only numbers, which may mean other classes"):
        open_source(str(tmp_path))


def test_a_class_named_twice_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [0, 1], names=["cat", "cat"])
    with pytest.raises(InputError, match="names a class twice"):
        open_source(str(tmp_path))


def test_names_in_one_file_and_numbers_in_another_meet(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [1, 0], names=["dog", "cat"])
    write(tmp_path / "b.parquet", ["cat", "dog"])
    assert listing(open_source(str(tmp_path))) == {
        "dog": ["a.parquet#00000001", "b.parquet#00000001"],
        "cat": ["a.parquet#00000000", "b.parquet#00000000"],
    }
    write(tmp_path / "c.parquet", ["cat", "eel"])
    with pytest.raises(InputError, match=r"c\.parquet: row 1: label 'eel' is not one of the named classes"):
        open_source(str(tmp_path))


@pytest.mark.parametrize(
    "images",
    [
        pa.array([{"bytes": None, "path": "a/1.jpg"}, {"bytes": None, "path": "b/1.jpg"}], STRUCT),
        pa.array([{"path": "a/1.jpg"}, {"path": "b/1.jpg"}]),
        pa.array(["a/1.jpg", "b/1.jpg"]),
        pa.array(["a/1.jpg", "b/1.jpg"]).dictionary_encode(),
    ],
    ids=["null bytes", "no bytes", "text", "dictionary of text"],
)
@pytest.mark.parametrize("statistics", [True, False])
def test_a_table_of_paths_alone_says_so(tmp_path: Path, images: pa.Array, statistics: bool) -> None:
    table = pa.table({"image": images, "label": [0, 1]})
    pq.write_table(table, tmp_path / "train.parquet", write_statistics=statistics)
    with pytest.raises(InputError, match=r"^.*train\.parquet: image column 'image' holds paths without .*; give .*$"):
        open_source(str(tmp_path))


def test_small_images_without_statistics_are_not_paths(tmp_path: Path) -> None:
    images = pa.array([{"bytes": b"x", "path": None}] * 500, STRUCT)
    pq.write_table(pa.table({"image": images, "label": [0, 1] * 250}), tmp_path / "a.parquet", write_statistics=False)
    assert open_source(str(tmp_path)).num_items == 500


@pytest.mark.parametrize(
    "images",
    [
        pa.array([png(0), png(1)], pa.binary_view()),
        pa.array([png(0), png(1)], pa.large_binary()),
        pa.array([padded(png(0)), padded(png(1))], pa.binary(PNG_BYTES)),
        pa.array([png(0), png(1)]).dictionary_encode(),
        pa.array([{"bytes": png(0)}, {"bytes": png(1)}], pa.struct([("bytes", pa.binary_view())])),
        pa.StructArray.from_arrays([pa.array([png(0), png(1)]).dictionary_encode()], ["bytes"]),
    ],
    ids=["binary_view", "large_binary", "fixed", "dictionary", "struct of binary_view", "struct of dictionary"],
)
def test_every_type_of_bytes_is_read(tmp_path: Path, images: pa.Array) -> None:
    write(tmp_path / "a.parquet", [0, 1], images=images)
    found = [read_item(item) for items in open_source(str(tmp_path)).items for item in items]
    expected = [png(0), png(1)]
    assert found == ([*map(padded, expected)] if pa.types.is_fixed_size_binary(images.type) else expected)


@pytest.mark.parametrize(
    ("labels", "folders", "ignored"),
    [
        (pa.array([b"cat", b"ant", b"cat"]), ["ant", "cat"], 0),
        (pa.array([b"cat", b"ant", b"cat"], pa.binary_view()), ["ant", "cat"], 0),
        (pa.array([10.0, 2.0, float("nan")]), ["2", "10"], 1),
        (pa.array([10, -1, 2]), ["2", "10"], 1),
        (pa.array(["10", "2", None]), ["10", "2"], 1),
        (pa.array(["b", "a", "nan"]), ["a", "b"], 1),
        (pa.array(["b", "a", "b"]).dictionary_encode(), ["a", "b"], 0),
    ],
)
def test_labels_follow_the_one_rule(tmp_path: Path, labels: pa.Array, folders: list[str], ignored: int) -> None:
    write(tmp_path / "a.parquet", labels)
    source = open_source(str(tmp_path))
    assert [label.folder for label in source.classes] == folders
    assert source.num_ignored_files == ignored


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (["0", "1", "2.0", "10"], ["1"]),
        (["0", "1", "2", "10"], ["2.0"]),
        (["0.0", "1.0", "10.0"], ["2"]),
        ([b"0", b"1", b"10"], [b"2."]),
    ],
)
def test_numbers_in_text_are_written_in_one_way(tmp_path: Path, first: list[str], second: list[str]) -> None:
    write(tmp_path / "a.parquet", first)
    write(tmp_path / "b.parquet", second)
    message = (
        r"in two ways: .*[ab]\.parquet: row \d holds '\d+\.0?', .*[ab]\.parquet: row 0 holds '\d+', .*; write all as"
    )
    with pytest.raises(InputError, match=message):
        open_source(str(tmp_path))


def test_numbers_in_text_of_one_form_keep_their_order(tmp_path: Path) -> None:
    for labels, order in (
        (["0", "1", "2", "10"], ["0", "1", "10", "2"]), (["0.0", "1.0", "2.0", "10.0"], ["0", "1", "2", "10"]),
    ):  # fmt: skip
        write(tmp_path / "a.parquet", labels)
        assert list(listing(open_source(str(tmp_path)))) == order
    write(tmp_path / "b.parquet", ["2"])
    write(tmp_path / "c.parquet", [1, 2, 10])
    assert list(listing(open_source(str(tmp_path)))) == ["0", "1", "2", "10"], "numbers that are stored decide"


def test_whole_floats_are_named_like_integers(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [1.0, 0.0, float("nan")], names=["dog", "cat"])
    assert list(listing(open_source(str(tmp_path)))) == ["dog", "cat"]


def test_an_unexpected_label_names_file_and_row(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [0.0, 1.5])
    with pytest.raises(InputError, match=r"a\.parquet: row 1: label 1\.5 is not a class number"):
        open_source(str(tmp_path))
