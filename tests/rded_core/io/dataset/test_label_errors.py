"""Labels that are damaged or of a different version or dataset: a one-line error, never wrong numbers."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rded_core.errors import InputError
from rded_core.io.dataset.distilled import DistilledDataset
from rded_core.io.formats.images import decode_image, encode_image
from rded_core.io.formats.shards import read_shard, write_shard
from rded_core.io.layout.dataset import REMEDY, DatasetFolder

TABLE = r"epochs-000000-000009\.parquet"
END = re.escape(REMEDY)


@pytest.fixture
def copied(distilled_folder: Path, tmp_path: Path) -> DatasetFolder:
    return DatasetFolder(Path(shutil.copytree(distilled_folder, tmp_path / "copy")))


def first_epoch(folder: DatasetFolder, **arguments: Any) -> None:
    list(DistilledDataset(folder).loader(**arguments))


def expect(folder: DatasetFolder, message: str, **arguments: Any) -> None:
    with pytest.raises(InputError) as caught:
        first_epoch(folder, **arguments)
    assert re.fullmatch(r"[^\n]*", str(caught.value)), "more than one line"
    assert re.search(message, str(caught.value)), str(caught.value)


def edit_recipe(folder: DatasetFolder, **changes: Any) -> None:
    folder.recipe.write_text(json.dumps({**json.loads(folder.recipe.read_text()), **changes}))


def edit_tables(folder: DatasetFolder, change: Callable[[pa.Table], pa.Table]) -> None:
    """Rewrites the tables, one row group per epoch, as another program would."""
    for path in folder.soft_label_tables():
        with pq.ParquetFile(path) as opened:
            groups = [change(opened.read_row_group(number)) for number in range(opened.num_row_groups)]
        with pq.ParquetWriter(path, groups[0].schema) as writer:
            for group in groups:
                writer.write_table(group)


def edit_metadata(table: pa.Table, **changes: Any) -> pa.Table:
    """Returns the table with changed metadata."""
    metadata = json.loads(table.schema.metadata[b"rded"])
    return table.replace_schema_metadata({"rded": json.dumps({**metadata, **changes})})


def test_tables_rewritten_by_another_program_are_read(copied: DatasetFolder) -> None:
    edit_tables(copied, lambda table: table)
    first_epoch(copied)


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "other"])
def test_a_damaged_table(copied: DatasetFolder, damage: str, num_workers: int) -> None:
    table = copied.soft_label_tables()[0]
    data = bytearray(table.read_bytes())
    with pq.ParquetFile(table) as opened:
        data[opened.metadata.row_group(0).column(3).data_page_offset + 40] ^= 1
    table.write_bytes({"flipped": bytes(data), "cut": data[:1000], "empty": b"", "other": b"not a table" * 100}[damage])
    expect(
        copied,
        rf"{TABLE} cannot be read: .+; {END}",
        batch_size=2,
        num_workers=num_workers,
    )


def test_a_missing_table(copied: DatasetFolder) -> None:
    copied.soft_label_tables()[0].unlink()
    expect(copied, rf"{TABLE} cannot be read: .+; {END}")


@pytest.mark.parametrize("name", ["key", "batch", "column_order", "crop_top", "flip", "mix_weight", "logits"])
def test_a_missing_column(copied: DatasetFolder, name: str) -> None:
    edit_tables(copied, lambda table: table.drop_columns(name))
    expect(copied, rf"{TABLE} lacks a column: .*\b{name}\b.*; {END}")


def test_a_newer_schema_version(copied: DatasetFolder) -> None:
    edit_tables(copied, lambda table: edit_metadata(table, schema_version=99))
    expect(copied, rf"{TABLE} has schema version 99, but this rded reads \d+; upgrade rded")


def test_a_table_without_metadata(copied: DatasetFolder) -> None:
    edit_tables(copied, lambda table: table.replace_schema_metadata(None))
    expect(copied, rf"{TABLE} has no Parquet metadata 'rded': it was not written by rded, [^;]+; {END}")


def test_a_codec_that_differs_from_the_recipe(copied: DatasetFolder) -> None:
    edit_recipe(copied, label_codec="int8")
    expect(copied, rf"{TABLE} stores labels as float16, but recipe.json says int8; fetch both from the same dataset")


def test_an_unknown_codec(copied: DatasetFolder) -> None:
    edit_recipe(copied, label_codec="int3")
    expect(copied, "unknown label codec 'int3'; choose from float16, ")


def test_features_without_the_teachers_last_layer(copied: DatasetFolder) -> None:
    edit_recipe(copied, label_codec="features")
    expect(copied, rf"teacher_head\.parquet cannot be read: .+; {END}")


def test_labels_of_different_images_with_the_same_names(copied: DatasetFolder) -> None:
    tar = copied.image_tars()[0]
    (key, files), *rest = read_shard(tar)
    inverted = encode_image(255 - decode_image(files["png"]), "png", 90)
    write_shard(tar, [(key, {**files, "png": inverted}), *rest])
    expect(copied, rf"{tar.name} does not match its digest in SHA256SUMS; {END}")
    copied.sums.unlink()
    expect(copied, rf"{TABLE} holds labels of different images with the same names; fetch both from the same dataset")


def test_labels_of_images_with_other_names(copied: DatasetFolder) -> None:
    tar = copied.image_tars()[0]
    (_, files), *rest = read_shard(tar)
    write_shard(tar, [("c00000_i00009", files), *rest])
    copied.sums.unlink()
    message = (
        "does not belong to these images: 'c00000_i00000' is not one of their keys; fetch both from the same dataset"
    )
    expect(copied, rf"{TABLE} {message}")


def test_missing_views(copied: DatasetFolder) -> None:
    edit_tables(copied, lambda table: table.slice(0, 4))
    expect(copied, rf"{TABLE} has 4 views in epoch 0, not 6; {END}")


def test_missing_epochs(copied: DatasetFolder) -> None:
    table = copied.soft_label_tables()[0]
    with pq.ParquetFile(table) as opened:
        first = opened.read_row_group(0)
    pq.write_table(first, table)
    with pytest.raises(InputError, match=rf"{TABLE} cannot be read: [^\n]*$"):
        DistilledDataset(copied).read_epoch(1)


def test_a_missing_image_tar(copied: DatasetFolder) -> None:
    tars = copied.image_tars()
    tars[-1].unlink()
    expect(copied, rf"({tars[-1].name} is missing|holds no images); {END}")
    copied.sums.unlink()
    expect(copied, rf"holds (no|\d) images.*; {END}")


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("crop_left", 30_000, "a crop box outside the image"),
        ("mix_width", -1, "a mix box outside the image"),
        ("logits", float("nan"), "labels that are not finite"),
        ("crop_top", "top", ""),
    ],
)
def test_values_out_of_range(copied: DatasetFolder, name: str, value: Any, fault: str) -> None:
    """A table's checksums may match although its values are wrong."""

    def spoil(table: pa.Table) -> pa.Table:
        field = table.schema.field(name)
        if pa.types.is_fixed_size_list(field.type):
            flat = table[name].combine_chunks().flatten().to_numpy().copy()
            flat[0] = value
            column: Any = pa.FixedSizeListArray.from_arrays(pa.array(flat, field.type.value_type), type=field.type)
        else:
            values = [value, *table[name].to_pylist()[1:]]
            column = pa.array(map(str, values)) if isinstance(value, str) else pa.array(values, pa.int32())
        return table.set_column(table.schema.get_field_index(name), name, column)

    edit_tables(copied, spoil)
    expect(copied, rf"{TABLE} cannot be read: .*{fault}; {END}")


def test_a_class_missing_from_classes_json(copied: DatasetFolder) -> None:
    copied.classes.write_text(json.dumps(json.loads(copied.classes.read_text())[:2]))
    expect(copied, rf"{TABLE} stores logits as fixed_size_list.*\[3\], but 2 classes need .*\[2\]; fetch both from")


@pytest.mark.parametrize(
    ("name", "value"), [("mean", None), ("std", [1.0, 2.0]), ("mean", ["a", "b", "c"]), ("std", 3)]
)
def test_a_recipe_without_mean_or_std(copied: DatasetFolder, name: str, value: Any) -> None:
    edit_recipe(copied, **{name: value})
    expect(
        copied,
        rf"recipe\.json: mean and std must be three numbers each; {END}",
    )


def test_a_dataset_without_labels(copied: DatasetFolder) -> None:
    edit_recipe(copied, label_epochs=0)
    expect(copied, "label_epochs must be a whole number >= 1, got 0", epochs=2)


@pytest.mark.parametrize("kind", ["tar", "table"])
def test_a_git_lfs_pointer_in_place_of_a_file_is_named(copied: DatasetFolder, kind: str) -> None:
    """As in a clone of a repository on the Hub without Git LFS."""
    path = next(iter(copied.soft_label_tables())) if kind == "table" else next(copied.root.rglob("*.tar"))
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 99\n")
    expect(copied, rf"{path.name} .*: it is a Git LFS pointer, not the file itself; run git lfs pull in its ")
