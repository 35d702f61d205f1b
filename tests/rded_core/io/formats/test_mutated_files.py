"""Mutated tars, tables, weights and JSON: each is read correctly or raises the documented error."""

import io
import itertools
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor

from rded_core.errors import InputError
from rded_core.io.dataset.distilled import DistilledDataset
from rded_core.io.formats import tables
from rded_core.io.formats.images import RejectedImage
from rded_core.io.formats.schemas import CANDIDATES
from rded_core.io.formats.shards import read_shard, write_shard
from rded_core.io.formats.soft_labels import LabelReader, split_batches, write_soft_labels
from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.networks.weights import read_weights
from rded_core.io.sources.base import SourceClass
from rded_core.io.sources.reading import read_item
from rded_core.io.sources.spec import open_source
from rded_core.labels.codecs import HalfCodec
from rded_core.labels.views import ViewRecipe, Views, draw_views

KEYS = [f"c{number // 2:05d}_i{number % 2:05d}" for number in range(6)]
ROW = dict.fromkeys(CANDIDATES.names, "text") | {
    "offset": 7,
    "num_bytes": 9,
    "in_tar": True,
    "position": 3,
}

SOAK_EXAMPLES = 1000

DrawPhoto = Callable[..., Image.Image]


@pytest.fixture(scope="session")
def pictures(draw_photo: DrawPhoto) -> list[bytes]:
    """Six small JPEGs."""
    buffers = [io.BytesIO() for _ in KEYS]
    for number, buffer in enumerate(buffers):
        draw_photo(number, height=16, width=16).save(buffer, format="JPEG")
    return [buffer.getvalue() for buffer in buffers]


def make_shard(path: Path, pictures: list[bytes]) -> None:
    files = [{"jpg": data, "cls": str(n // 2).encode(), "json": b'{"label": 1}'} for n, data in enumerate(pictures)]
    write_shard(path, zip(KEYS, files, strict=True))


def make_foreign_tar(path: Path, pictures: list[bytes]) -> None:
    """Writes a tar in pax format, with long names, as other programs do."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for number, data in enumerate(pictures):
            for ending, content in (("jpg", data), ("cls", b"cat" if number % 2 else b"dog")):
                info = tarfile.TarInfo(f"{'ä' * 60 * (number % 3)}/{number}.{ending}")
                info.size, info.mtime = len(content), 1.5
                archive.addfile(info, io.BytesIO(content))


def make_gnu_tar(path: Path, pictures: list[bytes]) -> None:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for number, data in enumerate(pictures):
            for ending, content in (("jpg", data), ("json", b'{"class_index": %d}' % (number % 2))):
                info = tarfile.TarInfo(f"{'long' * 30 * (number % 2)}{number}.{ending}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def make_hub_table(path: Path, pictures: list[bytes]) -> None:
    features = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    column = [{"bytes": data, "path": f"{number}.jpg"} for number, data in enumerate(pictures)]
    table = pa.table({"image": column, "label": [number % 2 for number in range(len(pictures))]})
    described = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(described), path, row_group_size=4)


def make_text_table(path: Path, pictures: list[bytes]) -> None:
    table = pa.table({"jpg": pictures, "cls": ["ant", "bee", "ant", None, "bee", "ant"]})
    pq.write_table(table, path, compression="none", use_dictionary=False)


def make_rows(path: Path, _: list[bytes]) -> None:
    tables.write_rows(path, [{**ROW, "position": position} for position in range(9)], CANDIDATES)


def make_soft_labels(path: Path, _: list[bytes]) -> None:
    recipe, generator = (
        ViewRecipe(size=16, factor=2, crop_scale_min=0.3, flip=True, mix="cutmix"),
        torch.Generator().manual_seed(0),
    )
    orders = [torch.randperm(6, generator=generator).split(3) for _ in range(2)]
    write_soft_labels(
        path,
        (
            (epoch, (rows, draw_views(recipe, 3, generator), {"logits": torch.randn(3, 4, generator=generator).half()}))
            for epoch, order in enumerate(orders)
            for rows in order
        ),
        keys=KEYS,
        class_indices=torch.arange(6) // 2,
        codec=HalfCodec(4),
        metadata={},
    )


def make_state(path: Path, _: list[bytes]) -> None:
    """Writes safetensors with the library's own writer, regardless of the file name."""
    from safetensors.torch import save

    state = {
        "fc.weight": torch.ones(3, 4),
        "fc.bias": torch.zeros(3),
        "steps": torch.tensor(7),
        "h": torch.ones(2).half(),
    }
    path.write_bytes(save(state, metadata={"rded": json.dumps({"arch": "x", "classes": ["a", "b", "c"]})}))


def make_pickled_state(path: Path, _: list[bytes]) -> None:
    torch.save({"state_dict": {"fc.weight": torch.ones(3, 4), "fc.bias": torch.zeros(3)}}, path)


def make_recipe(path: Path, _: list[bytes]) -> None:
    path.write_text(json.dumps({"num_images": 6, "label_epochs": 2, "mean": [0.5, 1e-3, -2], "mix": None, "ä": "ö"}))


def make_classes(path: Path, _: list[bytes]) -> None:
    entries = [{"index": n, "name": f"class {n}", "wnid": None if n else "n01440764", "folder": str(n)} for n in (0, 1)]
    path.write_text(json.dumps(entries))


def read_tar(path: Path) -> None:
    for key, files in read_shard(path):
        assert isinstance(key, str)
        assert all(isinstance(name, str) and isinstance(data, bytes) for name, data in files.items())


def read_source(path: Path) -> None:
    source = open_source(str(path.parent))
    assert len(source.classes) == len(source.items) >= 2
    assert [label.index for label in source.classes] == list(range(len(source.classes)))
    for item in itertools.chain(*source.items):
        try:
            assert isinstance(read_item(item), bytes)
        except RejectedImage as error:
            assert error.reason in ("truncated", "missing")


def read_table(path: Path) -> None:
    for row in tables.read_rows(path, CANDIDATES):
        assert row.keys() == ROW.keys()


def read_labels(path: Path) -> None:
    for rows, views, encoded in split_batches(LabelReader(KEYS, HalfCodec(4)).read_epoch(path, 1)):
        assert isinstance(views, Views)
        assert len(rows) == len(encoded["logits"]) == len(views.flip)
        assert encoded["logits"].dtype == torch.float16


def read_state(path: Path) -> None:
    state, facts = read_weights(str(path))
    assert all(isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items())
    assert isinstance(facts, dict)


def read_dataset(path: Path) -> None:
    for make, name in ((make_recipe, "recipe.json"), (make_classes, "classes.json")):
        if path.name != name:
            make(path.with_name(name), [])
    dataset = DistilledDataset(DatasetFolder(path.parent))
    assert len(dataset) >= 0
    assert dataset.num_epochs >= 0
    for index, label in enumerate(dataset.classes):
        assert isinstance(label, SourceClass)
        assert label.index == index
        assert isinstance(label.name, str)
        assert isinstance(label.folder, str)


@dataclass(frozen=True)
class Format:
    """A file format: its file name, its writers, its reader, and the errors that the reader may raise."""

    name: str
    make: tuple[Callable[[Path, list[bytes]], None], ...]
    read: Callable[[Path], None]
    errors: tuple[type[Exception], ...] = (InputError,)


TARS = (make_shard, make_foreign_tar, make_gnu_tar)
FORMATS = {
    "shard": Format("a.tar", TARS, read_tar, (tarfile.TarError,)),
    "tar source": Format("a.tar", TARS, read_source),
    "parquet source": Format("a.parquet", (make_hub_table, make_text_table), read_source),
    "rows": Format("a.parquet", (make_rows,), read_table),
    "soft labels": Format("a.parquet", (make_soft_labels,), read_labels),
    "safetensors": Format("a.safetensors", (make_state,), read_state),
    "pickled weights": Format("a.pt", (make_pickled_state,), read_state),
    "recipe": Format("recipe.json", (make_recipe,), read_dataset),
    "classes": Format("classes.json", (make_classes,), read_dataset),
}


@pytest.fixture(params=FORMATS)
def stored(request: pytest.FixtureRequest) -> Format:
    return FORMATS[request.param]


@pytest.fixture
def seeds(stored: Format, pictures: list[bytes], tmp_path: Path) -> list[bytes]:
    files: list[bytes] = []
    for make in stored.make:
        make(tmp_path / stored.name, pictures)
        files.append((tmp_path / stored.name).read_bytes())
    return files


@pytest.fixture
def read(stored: Format, tmp_path: Path) -> Callable[[bytes], str]:
    """Reads a file of the format from a folder of its own, since readers cache by path."""
    numbers = itertools.count()

    def read_bytes(data: bytes) -> str:
        folder = tmp_path / f"f{next(numbers)}"
        folder.mkdir()
        (folder / stored.name).write_bytes(data)
        try:
            stored.read(folder / stored.name)
        except stored.errors as error:
            assert str(error)
            assert stored.errors != (InputError,) or "\n" not in str(error), "one line"
            return type(error).__name__
        finally:
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
        return "read"

    return read_bytes


def test_unchanged_files_are_read(seeds: list[bytes], read: Callable[[bytes], str]) -> None:
    assert [read(data) for data in seeds] == ["read"] * len(seeds)


def test_mutated_files_are_read_or_refused(
    examine: Callable[..., Any], seeds: list[bytes], read: Callable[[bytes], str]
) -> None:
    outcomes = examine(read, seeds, count=150).outcomes
    assert len(outcomes) > 1, outcomes


@pytest.mark.soak
def test_thousands_of_mutated_files_neither_crash_nor_hang(
    examine: Callable[..., Any], seeds: list[bytes], read: Callable[[bytes], str], stored: Format
) -> None:
    examined = examine(read, seeds, count=SOAK_EXAMPLES, in_child=True)
    print(f"\n{stored.read.__name__}: {examined.outcomes.total()} mutated files: {dict(examined.outcomes)}, ", end="")
    print(f"{examined.peak_bytes >> 20} MB at most")
    assert examined.outcomes.total() >= SOAK_EXAMPLES
