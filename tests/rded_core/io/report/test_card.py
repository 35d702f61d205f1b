"""The small files of a dataset: checksums, README, croissant metadata."""

import hashlib
import json
import re
import runpy
import shutil
import subprocess
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from rded_core.io.formats.schemas import LINEAGE
from rded_core.io.formats.shards import write_shard
from rded_core.io.formats.sums import write_sums
from rded_core.io.formats.tables import write_rows
from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.report.card import size_category, write_readme
from rded_core.io.report.croissant import write_croissant
from rded_core.io.report.label_readers import STORED, reader_of
from rded_core.io.storage.atomic import write_json, write_text

RECIPE: dict[str, Any] = {
    "selection_note": "the most realistic of 5 candidates",
    **dict.fromkeys(
        ("num_images", "num_classes", "size", "ipc", "label_epochs", "num_candidates", "num_crops", "factor", "epochs"),
        2,
    ),
    "label_codec": "float16",
    **dict.fromkeys(("selection", "image_suffix", "suggested_student", "rded_version"), "jpg"),
    "views": {"factor": 2, "flip": True},
    "temperature": 20.0,
    "algorithm_version": 1,
}
CLASSES = [{"index": 0, "name": "tench"}, {"index": 1, "name": "{odd} name"}]
TEXTS = {"key": "k", "source_uri": "1/a b.jpg", "source_sha256": "0" * 64}
ROW: dict[str, Any] = {**dict.fromkeys(LINEAGE.names, 3), **TEXTS, "score_nats": -0.5}


@pytest.fixture
def folder(tmp_path: Path) -> DatasetFolder:
    made = DatasetFolder(tmp_path / "set")
    write_json(made.classes, CLASSES)
    write_json(made.recipe, RECIPE)
    write_shard(made.images(0), [("k", {"jpg": b"x", "cls": b"0", "json": b"{}"})])
    write_rows(made.lineage(0), [ROW], LINEAGE)
    write_text(made.soft_labels("epochs-000000-000009"), "stands for a table")
    write_text(made.report, "<html>")
    write_croissant(made, recipe=RECIPE, name="test-set")
    write_readme(made, recipe=RECIPE, classes=CLASSES)
    write_sums(made)
    return made


def check_sums(folder: DatasetFolder) -> int:
    command = ["sha256sum", "--strict", "-c", "SHA256SUMS"]
    return subprocess.run(command, cwd=folder.root, capture_output=True, check=False).returncode


def test_sums_list_every_file_but_themselves(folder: DatasetFolder) -> None:
    sums = dict(reversed(line.split("  ", 1)) for line in folder.sums.read_text().splitlines())
    files = {path.relative_to(folder.root).as_posix() for path in folder.root.rglob("*") if path.is_file()}
    assert set(sums) == files - {"SHA256SUMS"}
    assert len(sums) == 8
    for name, digest in sums.items():
        assert hashlib.sha256((folder.root / name).read_bytes()).hexdigest() == digest


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum of coreutils is not installed")
def test_sums_pass_sha256sum_until_a_byte_changes(folder: DatasetFolder) -> None:
    assert check_sums(folder) == 0
    path = folder.images(0)
    data = bytearray(path.read_bytes())
    data[600] ^= 1
    path.write_bytes(bytes(data))
    assert check_sums(folder) == 1


def test_sums_are_reproducible(folder: DatasetFolder) -> None:
    before = folder.sums.read_bytes()
    write_sums(folder)
    assert folder.sums.read_bytes() == before


def test_the_readme_names_the_files_next_to_it(folder: DatasetFolder) -> None:
    text = folder.readme.read_text()
    assert "tench, {odd} name" in text
    assert "`<key>.jpg`" in text
    for name in ("classes.json", "recipe.json", "SHA256SUMS", "report/index.html"):
        assert f"`{name}`" in text
        assert (folder.root / name).is_file()


@pytest.mark.parametrize("kind", STORED)
def test_a_reader_holds_the_branch_of_its_codec_alone(kind: str) -> None:
    text = reader_of(f"{kind}:20")
    compile(text, kind, "exec")
    assert text.count("def logits_of(") == 1
    assert "label_codec" not in text


def test_the_reader_file_runs_as_it_stands(distilled_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(distilled_folder)
    reader = Path(str(resources.files("rded_core.io.report"))) / "templates" / "reader.py"
    views, logits = next(runpy.run_path(str(reader))["recorded_batches"](0))
    assert len(views) == len(logits)
    assert torch.isfinite(views).all()


def test_the_short_example_in_the_readme_runs(distilled_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, example = re.findall(r"```python\n(.*?)```", (distilled_folder / "README.md").read_text(), flags=re.DOTALL)
    monkeypatch.chdir(distilled_folder)
    num_classes = len(json.loads((distilled_folder / "classes.json").read_text()))
    names: dict[str, Any] = {"student": lambda views: torch.zeros(len(views), num_classes)}
    exec(example, names)
    assert torch.isfinite(names["loss"])


def test_json_keeps_order_and_letters(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"b": "grün", "a": [1]})
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert text.index('"b"') < text.index('"a"')
    assert "grün" in text
    assert text.endswith("}\n")


def test_croissant_files_exist_with_their_digests(folder: DatasetFolder) -> None:
    described = json.loads(folder.croissant.read_text())
    objects = [entry for entry in described["distribution"] if entry["@type"] == "cr:FileObject"]
    files = {entry["contentUrl"]: entry["sha256"] for entry in objects if entry["contentUrl"] != "."}
    assert set(files) == {"classes.json", "recipe.json", "images/train-000000.tar"}
    for name, digest in files.items():
        assert hashlib.sha256((folder.root / name).read_bytes()).hexdigest() == digest
    for entry in described["distribution"]:
        if entry["@type"] == "cr:FileSet":
            assert list(folder.root.glob(entry["includes"])), f"{entry['includes']} matches no file"


def test_croissant_fields_are_the_lineage_columns(folder: DatasetFolder) -> None:
    (records,) = json.loads(folder.croissant.read_text())["recordSet"]
    assert [field["source"]["extract"]["column"] for field in records["field"]] == LINEAGE.names


def test_croissant_passes_its_own_validator(folder: DatasetFolder) -> None:
    mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant is a dev extra")
    dataset = mlcroissant.Dataset(jsonld=str(folder.croissant))
    assert not dataset.metadata.ctx.issues.errors
    (records,) = dataset.metadata.record_sets
    assert [field.uuid for field in records.fields] == [f"lineage/{name}" for name in LINEAGE.names]


def test_croissant_records_can_be_loaded(folder: DatasetFolder) -> None:
    mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant is a dev extra")
    (record,) = mlcroissant.Dataset(jsonld=str(folder.croissant)).records("lineage")
    assert record["lineage/source_uri"] in ("1/a b.jpg", b"1/a b.jpg")
    assert record["lineage/box_left"] == 3
    assert record["lineage/score_nats"] == -0.5


def test_readme_begins_with_front_matter_for_the_hugging_face_hub(folder: DatasetFolder) -> None:
    _, front, rest = folder.readme.read_text().split("---\n", 2)
    card = yaml.safe_load(front)
    assert card["task_categories"] == ["image-classification"]
    assert card["size_categories"] == ["n<1K"]
    files = {config["config_name"]: config["data_files"] for config in card["configs"]}
    assert files == {"soft_labels": "soft_labels/*.parquet", "lineage": "lineage/*.parquet"}
    assert all(list(folder.root.glob(pattern)) for pattern in files.values())
    assert rest.startswith("# Distilled image classification dataset\n")


def test_datasets_reads_the_tables_by_name(distilled_folder: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    for name, columns in (("soft_labels", {"key", "logits", "crop_top"}), ("lineage", set(LINEAGE.names))):
        table = datasets.load_dataset(str(distilled_folder), name, split="train", cache_dir=str(tmp_path))
        assert columns <= set(table.column_names)


@pytest.mark.parametrize(
    ("count", "name"),
    [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (99_999, "10K<n<100K"), (10**5, "100K<n<1M"), (10**6, "n>1M")],
)
def test_size_categories(count: int, name: str) -> None:
    assert size_category(count) == name
