"""Datasets at a URL: fetched file by file, checked against SHA256SUMS, kept; and folders of Hugging Face's client."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pytest
import torch

from rded_core.errors import InputError
from rded_core.io.dataset import files as dataset_files
from rded_core.io.dataset.distilled import DistilledDataset
from rded_core.io.dataset.loader import LabelLoader
from rded_core.io.formats.sums import format_sums, write_sums
from rded_core.io.layout.dataset import DatasetFolder

TABLES = ["soft_labels/epochs-000000-000009.parquet", "soft_labels/epochs-000010-000011.parquet"]


def put(folder: Path, url: str) -> None:
    memory = fsspec.filesystem("memory")
    for path in DatasetFolder(folder).files():
        memory.pipe(f"{url}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    memory.pipe(f"{url}/SHA256SUMS", (folder / "SHA256SUMS").read_bytes())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RDED_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def url(distilled_folder: Path, cache: Path) -> Iterator[str]:  # noqa: ARG001
    """The URL of a run folder whose dataset has been uploaded."""
    root = f"memory://rded-{uuid4().hex}/run"
    put(distilled_folder, f"{root}/dataset")
    yield root
    fsspec.filesystem("memory").rm(root, recursive=True)


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths, within the dataset, of the files fetched so far, in order."""
    names: list[str] = []
    for name in ("read_bytes", "download"):
        plain = getattr(dataset_files, name)

        def note(url: str, *rest: Any, plain: Callable[..., Any] = plain, **options: Any) -> Any:
            names.append(url.partition("/dataset/")[2])
            return plain(url, *rest, **options)

        monkeypatch.setattr(dataset_files, name, note)
    return names


def views_of(loader: LabelLoader) -> tuple[torch.Tensor, torch.Tensor]:
    shown, logits = zip(*loader, strict=True)
    return torch.cat(shown), torch.cat(logits)


def test_files_are_fetched_once_on_first_use(url: str, fetched: list[str]) -> None:
    opened = DistilledDataset(url)
    assert fetched == ["SHA256SUMS", "recipe.json", "classes.json"]
    loader = opened.loader(epochs=12)
    assert fetched[3:] == ["images/train-000000.tar"]
    list(loader)
    list(loader)
    assert fetched[4:] == TABLES[:1]
    loader.seek(11)
    list(loader)
    assert fetched[5:] == TABLES[1:]
    fetched.clear()
    list(DistilledDataset(url).loader())
    assert fetched == ["SHA256SUMS"]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_remote_dataset_gives_the_same_views_as_a_local_one(
    url: str, fetched: list[str], distilled_folder: Path, num_workers: int
) -> None:
    for where in (url, f"{url}/dataset", f"{url}/dataset/"):
        ours = views_of(DistilledDataset(where).loader(num_workers=num_workers))
        assert all(map(torch.equal, ours, views_of(DistilledDataset(distilled_folder).loader())))
    assert fetched.count(TABLES[0]) == 1


def test_files_are_cached_under_the_digest_of_sha256sums(url: str, cache: Path, distilled_folder: Path) -> None:
    opened = DistilledDataset(url)
    digest = hashlib.sha256((distilled_folder / "SHA256SUMS").read_bytes()).hexdigest()
    assert opened.folder.root == cache / "datasets" / digest[:16]
    _ = opened.images
    names = {path.relative_to(opened.folder.root).as_posix() for path in opened.folder.files()}
    assert names == {"recipe.json", "classes.json", "images/train-000000.tar"}


def test_a_damaged_file_is_refused_and_not_kept(url: str, distilled_folder: Path) -> None:
    opened, memory = DistilledDataset(url), fsspec.filesystem("memory")
    path = f"{url}/dataset/{TABLES[0]}"
    memory.pipe(path, memory.cat(path)[:-1] + b"x")
    message = rf"^[^\n]*/{TABLES[0]} does not match its digest in SHA256SUMS; publish the dataset again$"
    for _ in range(2):
        with pytest.raises(InputError, match=message):
            opened.read_epoch(0)
    memory.pipe(path, (distilled_folder / TABLES[0]).read_bytes())
    opened.read_epoch(0)


def test_a_missing_file(url: str) -> None:
    opened = DistilledDataset(url)
    fsspec.filesystem("memory").rm(f"{url}/dataset/images/train-000000.tar")
    message = r"^cannot fetch [^\n]*images/train-000000\.tar: file not found; publish the dataset again$"
    with pytest.raises(InputError, match=message):
        _ = opened.images


def test_no_dataset_at_a_url(url: str) -> None:
    with pytest.raises(InputError, match=r"^no distilled dataset at memory://[^\n]*: SHA256SUMS is missing; [^\n]*$"):
        DistilledDataset(f"{url}/elsewhere")


@pytest.mark.parametrize("sums", [b"", b"half of a line", b"\xff\xfe\n"])
def test_damaged_sums(url: str, sums: bytes) -> None:
    fsspec.filesystem("memory").pipe(f"{url}/dataset/SHA256SUMS", sums)
    with pytest.raises(InputError, match=r"^[^\n]*(SHA256SUMS is damaged|has no recipe\.json); publish[^\n]*$"):
        DistilledDataset(url)


def test_sums_cannot_name_files_outside(url: str, tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    outside = "images/../../../outside.tar"
    listed = dict(
        reversed(line.split("  ", 1)) for line in memory.cat(f"{url}/dataset/SHA256SUMS").decode().splitlines()
    )
    data = memory.cat(f"{url}/dataset/images/train-000000.tar")
    memory.pipe(
        f"{url}/dataset/SHA256SUMS", format_sums({**listed, outside: hashlib.sha256(data).hexdigest()}).encode()
    )
    memory.pipe(f"{url}/dataset/{outside}", data)
    memory.pipe(f"{url.rpartition('/')[0]}/outside.tar", data)
    with pytest.raises(InputError, match=r"has no images/\.\./\.\./\.\./outside\.tar; publish the dataset again$"):
        _ = DistilledDataset(url).images
    assert not list(tmp_path.rglob("outside*"))


def test_a_different_dataset_at_the_same_url_is_kept_apart(url: str, distilled_folder: Path, tmp_path: Path) -> None:
    before = DistilledDataset(url)
    shown = views_of(before.loader())
    other = Path(shutil.copytree(distilled_folder, tmp_path / "other"))
    recipe = (other / "recipe.json").read_text()
    (other / "recipe.json").write_text(recipe.replace('"label_epochs": 12', '"label_epochs": 11'))
    write_sums(DatasetFolder(other))
    put(other, f"{url}/dataset")
    after = DistilledDataset(url)
    assert (before.num_epochs, after.num_epochs) == (12, 11)
    assert before.folder != after.folder
    assert all(map(torch.equal, views_of(before.loader()), shown))


def test_a_folder_of_hugging_faces_client(distilled_folder: Path, tmp_path: Path) -> None:
    """Every file of a snapshot is a link to a blob named by its digest."""
    snapshot = tmp_path / "datasets--me--digits" / "snapshots" / ("0" * 40)
    blobs = snapshot.parents[1] / "blobs"
    blobs.mkdir(parents=True)
    for path in [*DatasetFolder(distilled_folder).files(), distilled_folder / "SHA256SUMS"]:
        blob = blobs / hashlib.sha256(path.read_bytes()).hexdigest()
        blob.write_bytes(path.read_bytes())
        place = snapshot / path.relative_to(distilled_folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(Path(*[".."] * len(place.relative_to(blobs.parent).parts[:-1])) / "blobs" / blob.name)
    (snapshot / ".gitattributes").write_text("*.tar filter=lfs\n")
    ours = views_of(DistilledDataset(snapshot).loader(num_workers=1))
    assert all(map(torch.equal, ours, views_of(DistilledDataset(distilled_folder).loader())))
