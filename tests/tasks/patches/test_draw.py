"""Drawing candidates: the first usable images in draw order; rejected ones are replaced."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from rded_core.config import DistillConfig
from rded_core.errors import InputError
from rded_core.io.formats.schemas import CANDIDATES, INDEX
from rded_core.io.formats.tables import read_rows
from rded_core.io.layout.units import class_unit
from rded_core.io.run.records import Record
from rded_core.io.sources.base import SourceItem
from rded_core.io.sources.parquet import rows
from tasks.patches.draw import check_rejected, draw_candidates
from tasks.run.index import draw_order
from tasks.run.plan import RunPlan
from tasks.run.prepare import prepare
from tasks.run.results import Done, StageResult
from tests.rded_core.io.formats.raw_files import jpeg2000_of, tiff_of

MakeConfig = Callable[..., DistillConfig]


def _draw(config: DistillConfig) -> tuple[RunPlan, dict[int, Record]]:
    plan = prepare.fn(config)
    drawn = [draw_candidates.fn(plan, shard) for shard in plan.shards]
    return plan, {index: record for result in drawn for index, record in result.records.items()}


def _keys(plan: RunPlan) -> dict[int, list[str]]:
    keys: dict[int, list[str]] = {}
    for label in plan.classes:
        rows = read_rows(plan.run.table("candidates", class_unit(label.folder)), CANDIDATES)
        assert [row["position"] for row in rows] == list(range(len(rows)))
        keys[label.index] = [row["key"] for row in rows]
    return keys


def test_unreadable_image_is_replaced_by_the_next(image_folder: Path, make_config: MakeConfig, tmp_path: Path) -> None:
    (image_folder / "10" / "empty.jpg").touch()
    (image_folder / "10" / "text.png").write_text("no picture")
    plan, records = _draw(make_config(tmp_path / "run", source=str(image_folder), num_candidates=12))
    keys = _keys(plan)
    assert sorted(keys[1]) == [f"10/{number:03d}.jpg" for number in range(12)]
    rejected = {index: record.facts["rejected"] for index, record in records.items()}
    assert rejected == {0: [], 1: [("empty", "10/empty.jpg"), ("not_an_image", "10/text.png")], 2: []}


def test_forms_that_cannot_be_read_are_replaced_and_counted(
    image_folder: Path, make_config: MakeConfig, tmp_path: Path
) -> None:
    (image_folder / "10" / "0deep.jp2").write_bytes(jpeg2000_of(Image.new("RGB", (8, 8), "white"), 16))
    (image_folder / "10" / "1colour.tif").write_bytes(tiff_of(np.ones((8, 8, 3), dtype="f4")))
    config = make_config(tmp_path / "run", source=str(image_folder), num_candidates=100, max_rejected=0.0)
    plan, records = _draw(config)
    assert sorted(records[1].facts["rejected"]) == [
        ("unsupported_pixels", "10/0deep.jp2"),
        ("unsupported_pixels", "10/1colour.tif"),
    ]
    stage = StageResult("candidates", {1: Done(records[1])})
    with (
        mock.patch("tasks.patches.draw.FEW_REJECTED", 0),
        pytest.raises(InputError, match=r"\(2 unsupported_pixels; the"),
    ):
        check_rejected(plan, [stage])


def test_more_candidates_keep_the_first_ones(make_config: MakeConfig, tmp_path: Path) -> None:
    few, _ = _draw(make_config(tmp_path / "few", num_candidates=8))
    many, _ = _draw(make_config(tmp_path / "many", num_candidates=12))
    for index, keys in _keys(few).items():
        assert _keys(many)[index][:8] == keys
        assert keys != sorted(keys), "drawn, not listed"


def test_draw_order_is_stable_when_an_image_is_added() -> None:
    items = tuple(SourceItem(f"a/{number}.jpg", "p") for number in range(20))
    drawn = draw_order(items[:19], 0, "a")
    assert [item for item in draw_order(items, 0, "a") if item != items[19]] == drawn
    assert draw_order(items, 1, "a") != draw_order(items, 0, "a")
    assert set(drawn) == set(items[:19])


def test_draw_order_is_the_same_in_every_version() -> None:
    """A different order gives a different dataset: bump `ALGORITHM_VERSION`."""
    items = tuple(SourceItem(f"n01440764/n01440764_{number}.JPEG", "p") for number in range(1000))
    keys = "\n".join(item.key for item in draw_order(items, 7, "n01440764"))
    assert hashlib.sha256(keys.encode()).hexdigest()[:16] == "c6def41923dba0fa"


def test_a_shuffled_table_gives_the_candidates_of_its_rows(
    image_folder: Path, make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row group is read once for the class shard, and what is drawn stays what reading row by row gives."""
    paths = sorted(image_folder.rglob("*.jpg"), key=lambda path: (path.stem, path.parent.name))
    columns = {"image": [path.read_bytes() for path in paths], "label": [path.parent.name for path in paths]}
    columns["image"][4] = b"no picture"
    (tmp_path / "table").mkdir()
    pq.write_table(pa.table(columns), tmp_path / "table" / "train.parquet", row_group_size=5)
    groups: list[int] = []
    read = pq.ParquetFile.read_row_group

    def counting(table: pq.ParquetFile, group: int, *, columns: list[str]) -> pa.Table:
        groups.append(group)
        return read(table, group, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counting)
    monkeypatch.setattr(rows, "KEPT_BYTES", 1)
    monkeypatch.setattr(rows._read_group.cache, "_Cache__maxsize", 1)
    config = make_config(tmp_path / "run", source=str(tmp_path / "table"), num_candidates=11, classes_per_shard=3)
    plan, records = _draw(config)
    assert sorted(groups) == list(range(8))
    assert [record.facts["rejected"] for record in records.values()] == [[], [("not_an_image", mock.ANY)], []]
    for label in plan.classes:
        listed = read_rows(plan.run.table("index", plan.unit(label.index)), INDEX)
        drawn = read_rows(plan.run.table("candidates", plan.unit(label.index)), CANDIDATES)
        sound = [row for row in listed if columns["image"][row["offset"]] != b"no picture"]
        assert [row["key"] for row in drawn] == [row["key"] for row in sound][:11]
        digests = [hashlib.sha256(columns["image"][int(row["key"][-8:])]).hexdigest() for row in drawn]
        assert [row["source_sha256"] for row in drawn] == digests


def test_a_class_of_git_lfs_pointers_says_so(image_folder: Path, make_config: MakeConfig, tmp_path: Path) -> None:
    for path in (image_folder / "10").iterdir():
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 99\n")
    message = r"has 0 usable images \(rejected: \d+ lfs_pointer, which git lfs pull replaces by images; the first: 10/"
    with pytest.raises(InputError, match=message):
        _draw(make_config(tmp_path / "run", source=str(image_folder)))
