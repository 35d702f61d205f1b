"""The run folder: shards, names, and finding a dataset."""

from pathlib import Path

import pytest

from rded_core.errors import InputError
from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.layout.run import RunFolder, find_dataset
from rded_core.io.layout.units import block_name, class_shards, epoch_blocks
from rded_core.io.storage.atomic import write_text


def finish(root: Path) -> Path:
    write_text(DatasetFolder(root).sums, "")
    write_text(DatasetFolder(root).recipe, "{}")
    return root


@pytest.mark.parametrize(("num_classes", "per_shard"), [(10, 3), (9, 3), (1, 8), (1000, 100)])
def test_class_shards_cover_every_class_once(num_classes: int, per_shard: int) -> None:
    shards = class_shards(num_classes, per_shard)
    assert [index for shard in shards for index in range(shard.start, shard.stop)] == list(range(num_classes))
    assert all(1 <= shard.stop - shard.start <= per_shard for shard in shards)
    assert len({shard.name for shard in shards}) == len(shards)


@pytest.mark.parametrize(
    ("num_classes", "num_shards", "largest"), [(2, 1, 2), (10, 1, 10), (11, 2, 10), (320, 32, 10), (1000, 32, 32)]
)
def test_default_shards_are_few(num_classes: int, num_shards: int, largest: int) -> None:
    shards = class_shards(num_classes)
    assert [index for shard in shards for index in range(shard.start, shard.stop)] == list(range(num_classes))
    assert len(shards) == num_shards
    assert max(shard.stop - shard.start for shard in shards) == largest


def test_shard_names_hold_their_first_and_last_class() -> None:
    assert [shard.name for shard in class_shards(7, 5)] == ["0000-0004", "0005-0006"]


@pytest.mark.parametrize("num_epochs", [1, 10, 11, 300])
def test_epoch_blocks_cover_every_epoch_once(num_epochs: int) -> None:
    blocks = epoch_blocks(num_epochs, 10)
    assert [epoch for block in blocks for epoch in block] == list(range(num_epochs))
    names = [block_name(block) for block in blocks]
    assert names == sorted(set(names)), "names sort as epochs do"


def test_a_dataset_is_found_by_its_run_folder(tmp_path: Path) -> None:
    finish(tmp_path / "dataset")
    write_text(RunFolder(tmp_path).run_json, "{}")
    assert find_dataset(str(tmp_path)) == (DatasetFolder(tmp_path / "dataset"), RunFolder(tmp_path))


def test_a_dataset_is_found_by_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(tmp_path / "dataset")
    write_text(RunFolder(tmp_path).run_json, "{}")
    assert find_dataset(str(tmp_path / "dataset")) == (DatasetFolder(tmp_path / "dataset"), RunFolder(tmp_path))
    monkeypatch.chdir(tmp_path / "dataset")
    folder, run = find_dataset(".")
    assert folder.root.resolve() == tmp_path / "dataset"
    assert run == RunFolder(tmp_path)


def test_a_dataset_moved_away_from_its_run_is_found_alone(tmp_path: Path) -> None:
    finish(tmp_path / "published")
    assert find_dataset(str(tmp_path / "published")) == (DatasetFolder(tmp_path / "published"), None)


@pytest.mark.parametrize("missing", ["SHA256SUMS", "recipe.json"])
def test_an_unfinished_dataset_is_an_error(tmp_path: Path, missing: str) -> None:
    (finish(tmp_path / "dataset") / missing).unlink()
    with pytest.raises(InputError, match=r"no distilled dataset at .*; pass the --out folder"):
        find_dataset(str(tmp_path))
    write_text(RunFolder(tmp_path).run_json, "{}")
    with pytest.raises(InputError, match="its run has not finished; rerun rded distill to resume it"):
        find_dataset(str(tmp_path))


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no distilled dataset"):
        find_dataset(str(tmp_path / "nowhere"))


def test_files_are_listed_by_path_without_the_sums(tmp_path: Path) -> None:
    folder = DatasetFolder(finish(tmp_path))
    for path in (folder.images(1), folder.images(0), folder.lineage(0), folder.soft_labels("epochs-a"), folder.report):
        write_text(path, "")
    assert [path.relative_to(tmp_path).as_posix() for path in folder.files()] == [
        "images/train-000000.tar",
        "images/train-000001.tar",
        "lineage/train-000000.parquet",
        "recipe.json",
        "report/index.html",
        "soft_labels/epochs-a.parquet",
    ]
    assert folder.image_tars() == [folder.images(0), folder.images(1)]
    assert folder.lineage_tables() == [folder.lineage(0)]
    assert folder.soft_label_tables() == [folder.soft_labels("epochs-a")]


def test_only_a_control_of_a_run_shares_its_stages(tmp_path: Path) -> None:
    """A user's own folder may also be called work/controls."""
    control = RunFolder(tmp_path / "work" / "controls" / "random")
    assert control.owner is None
    assert control.table("index", "x").is_relative_to(control.root)
    (tmp_path / "run.json").touch()
    control = RunFolder(control.root)
    assert control.owner == RunFolder(tmp_path)
    assert control.table("index", "x") == RunFolder(tmp_path).table("index", "x")
    assert control.table("squeeze", "x").is_relative_to(control.root)
