"""Datasets whose sums are right but whose files disagree: faults that only their contents show."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from rded_core.config import DistillConfig
from rded_core.io.formats.shards import Sample, read_shard, write_shard
from rded_core.io.formats.sums import write_sums
from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.verify.findings import Fault
from tasks.verify.files import check_files

LABELS = "soft_labels/epochs-000000-000001.parquet"
LINEAGE = "lineage/train-000000.parquet"
SHARD = "images/train-000000.tar"


@pytest.fixture(scope="module")
def published(
    make_config: Callable[..., DistillConfig],
    run_undecorated: Callable[[DistillConfig], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    return run_undecorated(make_config(tmp_path_factory.mktemp("verify") / "run", label_epochs=2))


@pytest.fixture
def dataset(published: Path, tmp_path: Path) -> DatasetFolder:
    return DatasetFolder(Path(shutil.copytree(published, tmp_path / "published")))


def _faults(dataset: DatasetFolder) -> list[Fault]:
    return check_files(dataset).faults


def _json(name: str, change: Callable[[Any], None]) -> Callable[[Path], None]:
    def hurt(root: Path) -> None:
        content = json.loads((root / name).read_text())
        change(content)
        (root / name).write_text(json.dumps(content))

    return hurt


def _samples(change: Callable[[list[Sample]], list[Sample]]) -> Callable[[Path], None]:
    def hurt(root: Path) -> None:
        samples = list(read_shard(root / SHARD))
        write_shard(root / SHARD, change(samples))

    return hurt


def _table(name: str, change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    """Rewrites a table, with one row group per epoch if it has labels."""

    def hurt(root: Path) -> None:
        table = change(pq.read_table(root / name))
        with pq.ParquetWriter(root / name, table.schema) as writer:
            epochs = sorted(set(table["epoch"].to_pylist())) if "epoch" in table.schema.names else [None]
            for epoch in epochs:
                part = table if epoch is None else table.filter(pc.equal(table["epoch"], epoch))
                writer.write_table(part, row_group_size=max(part.num_rows, 1))

    return hurt


def _with(name: str, row: int, value: Any) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        column, field = table.schema.get_field_index(name), table.schema.field(name)
        values = table[name].to_pylist()
        values[row] = value
        return table.set_column(column, field, pa.array(values, type=field.type))

    return change


def _not_finite(table: pa.Table) -> pa.Table:
    logits = table["logits"].combine_chunks()
    flat = np.array(logits.flatten().to_numpy())
    flat[1] = np.inf
    column = pa.FixedSizeListArray.from_arrays(pa.array(flat, type=pa.float16()), type=logits.type)
    return table.set_column(table.schema.get_field_index("logits"), table.schema.field("logits"), column)


def _other_version(table: pa.Table) -> pa.Table:
    metadata = json.loads(table.schema.metadata[b"rded"])
    return table.replace_schema_metadata({"rded": json.dumps({**metadata, "schema_version": 99})})


def _relabelled(samples: list[Sample]) -> list[Sample]:
    (key, files), *others = samples
    return [(key, {**files, "cls": b"2"}), *others]


def _cut(samples: list[Sample]) -> list[Sample]:
    (key, files), *others = samples
    return [(key, {**files, "png": files["png"][:-40]}), *others]


def test_whole_dataset_is_sound(dataset: DatasetFolder) -> None:
    findings = check_files(dataset)
    assert (findings.faults, findings.notes) == ([], [])
    assert {path.relative_to(dataset.root).as_posix() for path in findings.whole} == {
        path.relative_to(dataset.root).as_posix() for path in (*dataset.files(), dataset.sums)
    }


@pytest.mark.parametrize(
    ("hurt", "path", "what"),
    [
        (_json("recipe.json", lambda recipe: recipe.update(num_images=7)), "recipe.json", "num_images is 7, which"),
        (_json("recipe.json", lambda recipe: recipe.update(num_classes=2)), "recipe.json", "num_classes is 2, which"),
        (_json("recipe.json", lambda recipe: recipe.update(label_epochs=3)), "recipe.json", "epochs 2 to 2 are miss"),
        (_json("recipe.json", lambda recipe: recipe.pop("size")), SHARD, "KeyError: 'size'"),
        (_json("classes.json", lambda entries: entries[0].update(num_images=1, index=5)), "recipe.json", "indices in"),
        (
            _json("croissant.json", lambda content: content["distribution"][0].update(sha256="0" * 64)),
            "croissant.json", "a different digest for classes.json",
        ),
        (_samples(_relabelled), SHARD, "c00000_i00000.json does not match c00000_i00000.cls"),
        (_samples(_cut), SHARD, "c00000_i00000 does not decode"),
        (_samples(lambda samples: samples[1:]), "classes.json", "class 1 has 1 images in the shards, not 2"),
        (_samples(lambda samples: [*samples, samples[0]]), SHARD, "c00000_i00000 appears twice"),
        (_table(LINEAGE, lambda rows: rows.slice(1)), LINEAGE, "c00000_i00000 does not have one row for each of its 4"),
        (_table(LINEAGE, lambda rows: rows.slice(4)), "recipe.json", "1 images have no rows .*the first is c00000"),
        (_table(LINEAGE, _with("source_uri", 0, "x")), LINEAGE, "c00000_i00000 has other sources than c00000_i"),
        (_table(LINEAGE, _with("score_nats", 0, 1.5)), LINEAGE, "a positive or NaN score"),
        (_table(LABELS, lambda rows: rows.slice(1)), LABELS, "epoch 0: it does not name every image exactly once"),
        (_table(LABELS, _with("key", 0, "c00009_i00009")), LABELS, "does not name every image exactly once"),
        (_table(LABELS, _with("class_index", 0, 9)), LABELS, "rows of a different class"),
        (_table(LABELS, _with("mix_position", 0, 77)), LABELS, "a partner outside its batch"),
        (_table(LABELS, _with("row_order", 0, [1, 1])), LABELS, "a row_order that is not a permutation of 2 cells"),
        (_table(LABELS, _with("crop_top", 0, 32)), LABELS, "a crop box outside the image"),
        (_table(LABELS, _not_finite), LABELS, "labels that are not finite"),
        (_table(LABELS, _other_version), LABELS, "schema version 99; this rded reads version 1"),
        (_table(LABELS, lambda rows: rows.drop_columns(["flip"])), LABELS, "its columns do not match"),
    ],
)  # fmt: skip
def test_inconsistent_files_are_reported(
    dataset: DatasetFolder, hurt: Callable[[Path], None], path: str, what: str
) -> None:
    hurt(dataset.root)
    write_sums(dataset)
    faults = {fault.path.relative_to(dataset.root).as_posix(): fault for fault in _faults(dataset)}
    assert path in faults, faults
    assert faults[path].kind == "inconsistent"
    assert re.search(what, faults[path].what), faults[path].what


def _drop_counts(entries: list[dict[str, Any]]) -> None:
    entries[0].pop("num_images")


@pytest.mark.parametrize("is_listed", [True, False])
@pytest.mark.parametrize("name", ["classes.json", "recipe.json"])
def test_a_missing_small_file_is_the_only_fault(dataset: DatasetFolder, name: str, is_listed: bool) -> None:
    (dataset.root / name).unlink()
    if not is_listed:
        write_sums(dataset)
    faults = [(fault.kind, fault.path.name) for fault in _faults(dataset) if fault.path != dataset.croissant]
    assert faults == [("missing", name)]


def test_classes_without_counts_are_reported(dataset: DatasetFolder) -> None:
    _json("classes.json", _drop_counts)(dataset.root)
    write_sums(dataset)
    faults = {fault.path.name: fault.what for fault in _faults(dataset) if fault.path != dataset.croissant}
    assert faults == {"classes.json": "invalid contents (KeyError: 'num_images')"}


@pytest.mark.parametrize("separator", ["\x0b", "\r", "\u2028", " "])
def test_other_line_ends_in_the_sums_are_noticed(dataset: DatasetFolder, separator: str) -> None:
    text = dataset.sums.read_text()
    dataset.sums.write_bytes(f"{text[:-1]}{separator}".encode())
    assert [(fault.kind, fault.path) for fault in _faults(dataset)] == [("damaged", dataset.sums)]


def test_strays_are_reported_as_ours_or_foreign(dataset: DatasetFolder) -> None:
    for name in ("notes.txt", "images/.train-000000.tar.1.tmp", "images/train-000009.tar"):
        (dataset.root / name).write_text("x")
    findings = check_files(dataset)
    assert {(fault.kind, fault.path.relative_to(dataset.root).as_posix()) for fault in findings.faults} == {
        ("unexpected", "images/.train-000000.tar.1.tmp"),
        ("unexpected", "images/train-000009.tar"),
    }
    assert findings.notes == ["notes.txt: not written by rded, not in SHA256SUMS; left as it is"]


@pytest.fixture(scope="module")
def of_codec(
    make_config: Callable[..., DistillConfig],
    run_undecorated: Callable[[DistillConfig], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("codecs")
    return {
        codec: run_undecorated(make_config(folder / codec.replace(":", ""), label_epochs=2, label_codec=codec))
        for codec in ("int8", "int4", "topk:2", "features")
    }


@pytest.mark.parametrize(
    ("codec", "column"),
    [("int8", "logit_scale"), ("int4", "logit_offset"), ("topk:2", "tail_logsumexp"), ("features", "feature_scale")],
)
def test_every_codec_is_checked(of_codec: dict[str, Path], tmp_path: Path, codec: str, column: str) -> None:
    dataset = DatasetFolder(Path(shutil.copytree(of_codec[codec], tmp_path / "published")))
    assert _faults(dataset) == []
    _table(LABELS, _with(column, 0, np.float16(np.nan)))(dataset.root)
    write_sums(dataset)
    (fault,) = _faults(dataset)
    assert "labels that are not finite" in fault.what
    _table(LABELS, lambda rows: rows.drop_columns([column]))(dataset.root)
    write_sums(dataset)
    (fault,) = _faults(dataset)
    assert "its columns do not match" in fault.what


def test_a_codec_that_the_recipe_does_not_name_is_a_fault(of_codec: dict[str, Path], tmp_path: Path) -> None:
    dataset = DatasetFolder(Path(shutil.copytree(of_codec["int8"], tmp_path / "published")))
    _json("recipe.json", lambda recipe: recipe.update(label_codec="int4"))(dataset.root)
    write_sums(dataset)
    assert LABELS in {fault.path.relative_to(dataset.root).as_posix() for fault in _faults(dataset)}


def _reversed(rows: pa.Table) -> pa.Table:
    return rows.take(list(reversed(range(rows.num_rows))))


def test_a_damaged_last_layer_is_reported(of_codec: dict[str, Path], tmp_path: Path) -> None:
    dataset = DatasetFolder(Path(shutil.copytree(of_codec["features"], tmp_path / "published")))
    whole = dataset.teacher_head.read_bytes()
    dataset.teacher_head.write_bytes(whole[:-9])
    assert [(fault.kind, fault.path) for fault in _faults(dataset)] == [("damaged", dataset.teacher_head)]
    dataset.teacher_head.write_bytes(whole)
    _table("teacher_head.parquet", _reversed)(dataset.root)
    write_sums(dataset)
    faults = {fault.path: fault.what for fault in _faults(dataset)}
    assert "its rows are not one per class, in order" in faults[dataset.teacher_head]
