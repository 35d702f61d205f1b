"""Hugging Face style Parquet sources: columns, labels, row groups, splits, errors."""

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from rded_core.errors import InputError
from rded_core.io.formats.images import RejectedImage
from rded_core.io.sources.base import Source
from rded_core.io.sources.reading import read_item
from rded_core.io.sources.spec import open_source


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (5, 4), (shade, shade, 0)).save(buffer, format="PNG")
    return buffer.getvalue()


def write_table(
    path: Path,
    labels: Sequence[Any],
    *,
    image: str = "image",
    label: str = "label",
    binary: bool = False,
    names: list[str] | None = None,
    row_group_size: int = 100,
    first_shade: int = 0,
) -> Path:
    """Writes a Parquet file of one image per label, as the Hub does (a struct of bytes and path) or as plain bytes."""
    images = [png(first_shade + row) for row in range(len(labels))]
    column: list[Any] = images if binary else [{"bytes": data, "path": f"{row}.png"} for row, data in enumerate(images)]
    table = pa.table({"id": list(range(len(labels))), image: column, label: list(labels)})
    if names is not None:
        features = {"image": {"_type": "Image"}, label: {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=row_group_size)
    return path


@pytest.fixture
def memory_root() -> Iterator[str]:
    root = f"memory://rded-{uuid4().hex}"
    yield root
    fsspec.filesystem("memory").rm(root, recursive=True)


def folders(source: Source) -> list[str]:
    return [label.folder for label in source.classes]


def offsets(source: Source) -> list[list[int]]:
    return [[item.offset for item in group] for group in source.items]


def test_struct_images_with_class_label_names(tmp_path: Path) -> None:
    write_table(tmp_path / "data.parquet", [2, 0, 2, 1], names=["cat", "n01440764", "ant"])
    source = open_source(str(tmp_path))
    assert folders(source) == ["cat", "n01440764", "ant"]
    assert source.classes[1].name == "tench"
    assert offsets(source) == [[1], [3], [0, 2]]
    assert not source.is_webdataset
    assert [read_item(item) for item in source.items[2]] == [png(0), png(2)]


@pytest.mark.parametrize("image", ["image", "img", "jpg", "png", "webp"])
@pytest.mark.parametrize("label", ["label", "labels", "fine_label", "class_id", "class_index", "cls"])
def test_recognised_column_names(tmp_path: Path, image: str, label: str) -> None:
    write_table(tmp_path / "x.parquet", [7, 3], image=image, label=label)
    source = open_source(str(tmp_path))
    assert folders(source) == ["3", "7"]
    assert read_item(source.items[0][0]) == png(1)


def test_plain_binary_column(tmp_path: Path) -> None:
    write_table(tmp_path / "x.parquet", [10, 2, 10], binary=True)
    source = open_source(str(tmp_path))
    assert folders(source) == ["2", "10"], "integer labels are ordered as numbers"
    assert [read_item(item) for group in source.items for item in group] == [png(1), png(0), png(2)]


def test_text_labels_are_sorted(tmp_path: Path) -> None:
    write_table(tmp_path / "x.parquet", ["b", "a", "b", "10"])
    assert folders(open_source(str(tmp_path))) == ["10", "a", "b"]


def test_every_row_of_every_row_group_reads_back(tmp_path: Path) -> None:
    labels = [row % 3 for row in range(23)]
    write_table(tmp_path / "x.parquet", labels, row_group_size=5)
    source = open_source(str(tmp_path))
    rows = {item.offset: read_item(item) for group in source.items for item in group}
    assert rows == {row: png(row) for row in range(23)}


def test_rows_of_several_files_have_distinct_keys(tmp_path: Path) -> None:
    write_table(tmp_path / "b.parquet", [0, 1], first_shade=50)
    write_table(tmp_path / "a.parquet", [1, 0])
    source = open_source(str(tmp_path))
    assert [[item.key for item in group] for group in source.items] == [
        ["a.parquet#00000001", "b.parquet#00000000"],
        ["a.parquet#00000000", "b.parquet#00000001"],
    ]
    assert [read_item(item) for item in source.items[1]] == [png(0), png(51)]


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ("train-00000-of-00001.parquet", "test-00000-of-00001.parquet"),
        ("data/train-00000-of-00001.parquet", "data/validation-00000-of-00001.parquet"),
        ("train/0000.parquet", "validation/0000.parquet"),
        ("default/train/0000.parquet", "default/test/0000.parquet"),
    ],
)
def test_splits_are_selected_by_file_or_folder_name(tmp_path: Path, train: str, val: str) -> None:
    write_table(tmp_path / train, [0, 1, 0])
    write_table(tmp_path / val, [1, 0], first_shade=100)
    assert offsets(open_source(str(tmp_path))) == [[0, 2], [1]]
    source = open_source(str(tmp_path), split="val")
    assert offsets(source) == [[1], [0]]
    assert read_item(source.items[0][0]) == png(101)


def test_validation_is_preferred_to_test(tmp_path: Path) -> None:
    for name, shade in (("train", 0), ("validation", 50), ("test", 100)):
        write_table(tmp_path / f"{name}-00000-of-00001.parquet", [0, 1], first_shade=shade)
    source = open_source(str(tmp_path), split="val")
    assert [read_item(item) for group in source.items for item in group] == [png(50), png(51)]


@pytest.mark.parametrize("name", ["train-00000.parquet", "data/train-00000.parquet", "train/0000.parquet"])
def test_training_files_are_never_taken_for_validation(tmp_path: Path, name: str) -> None:
    write_table(tmp_path / name, [0, 1])
    with pytest.raises(InputError, match="no file of the split 'val'"):
        open_source(str(tmp_path), split="val")


def test_one_class_is_an_error_that_counts_rows_without_a_label(tmp_path: Path) -> None:
    write_table(tmp_path / "a" / "b" / "x.parquet", [0, None, -1, 0])
    message = (
        r"one class \(0\).*; give a source with more classes \(left out: rows without a label: 2 \(the first: a/b/x"
    )
    with pytest.raises(InputError, match=message):
        open_source(str(tmp_path))


def test_rows_without_a_label_are_left_out_and_counted(tmp_path: Path) -> None:
    write_table(tmp_path / "x.parquet", [0, None, -1, 1])
    source = open_source(str(tmp_path))
    assert offsets(source) == [[0], [3]]
    assert source.num_ignored_files == 2


def test_a_missing_column_is_an_error_that_lists_the_columns(tmp_path: Path) -> None:
    write_table(tmp_path / "x.parquet", [0, 1], image="picture")
    with pytest.raises(
        InputError, match=r"no column with an image .* it has id, picture, label; rename the one .* to 'image'"
    ):
        open_source(str(tmp_path))


def test_a_missing_label_column_is_an_error(tmp_path: Path) -> None:
    write_table(tmp_path / "x.parquet", [0, 1], label="kind")
    with pytest.raises(
        InputError, match=r"no column with a label \(label or labels .*; rename the one with a label to 'label'"
    ):
        open_source(str(tmp_path))


def test_a_label_column_missing_from_a_later_file_is_an_error(tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet", [0, 1])
    write_table(tmp_path / "b.parquet", [0, 1], label="kind")
    with pytest.raises(InputError, match=r"b\.parquet"):
        open_source(str(tmp_path))


def test_an_image_column_without_bytes_is_an_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": ["a.png", "b.png"], "label": [0, 1]}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match="image"):
        open_source(str(tmp_path))


def test_a_table_without_labels_is_an_error(tmp_path: Path) -> None:
    write_table(tmp_path / "x.parquet", [-1, -1])
    with pytest.raises(InputError, match="no row has a label"):
        open_source(str(tmp_path))


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    path = write_table(tmp_path / "x.parquet", [0, 1])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        open_source(str(tmp_path))


def test_different_bytes_in_the_same_rows_change_the_digest(tmp_path: Path) -> None:
    digests: set[str] = set()
    for colour in (1, 2):
        images = [{"bytes": png(1) + bytes(100 * colour), "path": "a.png"}] * 2
        pq.write_table(pa.table({"image": images, "label": [0, 1]}), tmp_path / "x.parquet")
        digests.add(open_source(str(tmp_path)).digest())
    assert len(digests) == 2


def test_a_row_without_bytes_is_empty(tmp_path: Path) -> None:
    images = [{"bytes": None, "path": "a.png"}, {"bytes": png(1), "path": "b.png"}]
    pq.write_table(pa.table({"image": images, "label": [0, 1]}), tmp_path / "x.parquet")
    source = open_source(str(tmp_path))
    assert read_item(source.items[0][0]) == b""
    assert read_item(source.items[1][0]) == png(1)


def test_a_vanished_file_is_rejected_as_missing(tmp_path: Path) -> None:
    path = write_table(tmp_path / "x.parquet", [0, 1])
    source = open_source(str(tmp_path))
    path.unlink()
    with pytest.raises(RejectedImage) as caught:
        read_item(source.items[0][0])
    assert caught.value.reason == "missing"


def test_remote_tables_read_like_local_ones(tmp_path: Path, memory_root: str) -> None:
    filesystem = fsspec.filesystem("memory")
    path = write_table(tmp_path / "train-0.parquet", [1, 0, 1], names=["cat", "ant"], row_group_size=2)
    filesystem.pipe(f"{memory_root}/data/{path.name}", path.read_bytes())
    source = open_source(memory_root)
    assert folders(source) == ["cat", "ant"]
    assert offsets(source) == [[1], [0, 2]]
    assert [read_item(item) for item in source.items[1]] == [png(0), png(2)]


def test_the_first_row_without_a_label_is_named_from_the_source(tmp_path: Path) -> None:
    """Reports show it: it must not depend on the place of the source."""
    (tmp_path / "data").mkdir()
    pq.write_table(
        pa.table({"image": [b"one", b"two", b"three"], "label": [0, None, 1]}), tmp_path / "data" / "a.parquet"
    )
    assert [entry.first for entry in open_source(str(tmp_path)).passed_over] == ["data/a.parquet#00000001"]
