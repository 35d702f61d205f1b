"""Re-encoded labels: what stays, what is reported, what is refused; and the description of stored labels."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from deployments.cli.label_reports import describe_new
from rded_core.config import DistillConfig
from rded_core.errors import InputError
from rded_core.io.dataset.distilled import DistilledDataset
from rded_core.io.labels import reencode as reencode_module
from rded_core.io.labels.choices import describe_excess
from rded_core.io.labels.description import OVERHEAD, count_bytes, describe, show_views
from rded_core.io.labels.reencode import reencode
from rded_core.io.labels.stored import StoredLabels
from rded_core.io.layout.dataset import DatasetFolder
from tasks.verify.files import check_files

Published = dict[str, Path]


@pytest.fixture(scope="module")
def published(
    make_config: Callable[..., DistillConfig],
    run_undecorated: Callable[[DistillConfig], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Published:
    """A dataset in each of the two codecs that others can be made from."""
    folder = tmp_path_factory.mktemp("reencode")
    return {codec: run_undecorated(make_config(folder / codec, label_codec=codec)) for codec in ("float16", "features")}


def _epoch(folder: Path, epoch: int) -> torch.Tensor:
    return torch.cat([logits for _, _, logits in DistilledDataset(folder).recorded_batches(epoch)])


@pytest.mark.parametrize("codec", ["int8", "int4", "topk:2"])
@pytest.mark.parametrize("before", ["float16", "features"])
def test_new_labels_are_the_old_ones_rounded(published: Published, tmp_path: Path, before: str, codec: str) -> None:
    old, new = published[before], tmp_path / "new"
    sums = (old / "SHA256SUMS").read_bytes()
    record = reencode(str(old), new, codec=codec, epochs=11)
    assert (record["codec"], record["epochs"], record["before"]["codec"]) == (codec, 11, before)
    assert check_files(DatasetFolder(new)).faults == []
    assert (old / "SHA256SUMS").read_bytes() == sums
    target, folders = DistilledDataset(new), (old, new)
    for epoch in (0, 10):
        ours, theirs = (list(DistilledDataset(folder).recorded_batches(epoch)) for folder in folders)
        for (rows, views, logits), (new_rows, new_views, new_logits) in zip(ours, theirs, strict=True):
            assert torch.equal(rows, new_rows)
            assert torch.equal(views.crop_box, new_views.crop_box)
            torch.testing.assert_close(new_logits, target.codec.decode(target.codec.encode(logits)))
    assert [path.stem for path in DatasetFolder(new).soft_label_tables()] == [
        "epochs-000000-000009",
        "epochs-000010-000010",
    ]


def test_files_that_do_not_depend_on_labels_stay(published: Published, tmp_path: Path) -> None:
    old, new = published["float16"], tmp_path / "new"
    reencode(str(old), new, codec="int8", epochs=3)
    for name in ("images/train-000000.tar", "lineage/train-000000.parquet", "classes.json", "report/mosaics.jpg"):
        assert (old / name).read_bytes() == (new / name).read_bytes()
    before, after = (json.loads((folder / "recipe.json").read_text()) for folder in (old, new))
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"label_epochs", "label_codec", "labels_from", "labels_written_by"}
    assert after["epochs"] == 12, "students train for as long as before"
    assert [entry["codec"] for entry in after["labels_from"]] == ["float16"]
    assert "3 epochs of labels as int8" in (new / "report" / "index.html").read_text()
    assert "label codec int8" in (new / "README.md").read_text()
    tables = [min(folder.glob("soft_labels/*")) for folder in (old, new)]
    before, after = (json.loads(pq.read_schema(table).metadata[b"rded"]) for table in tables)
    assert after == {**before, "codec": "int8"}


def test_features_are_kept_as_they_are(published: Published, tmp_path: Path) -> None:
    reencode(str(published["features"]), tmp_path / "new", epochs=2)
    assert torch.equal(_epoch(tmp_path / "new", 1), _epoch(published["features"], 1))
    assert check_files(DatasetFolder(tmp_path / "new")).faults == []


def test_the_same_labels_give_the_same_bytes(published: Published, tmp_path: Path) -> None:
    for name in ("a", "b"):
        reencode(str(published["float16"]), tmp_path / name, codec="int4")
    assert (tmp_path / "a" / "SHA256SUMS").read_bytes() == (tmp_path / "b" / "SHA256SUMS").read_bytes()


@pytest.mark.parametrize("share", [0.2, 0.45, 0.7])
@pytest.mark.parametrize("before", ["float16", "features"])
def test_a_budget_is_kept_and_explained(published: Published, tmp_path: Path, before: str, share: float) -> None:
    budget, lines = int(share * StoredLabels(str(published[before])).folder.label_bytes()), list[str]()
    record = reencode(str(published[before]), tmp_path / "new", budget=budget, log=lines.append)
    assert record["bytes"] == sum(path.stat().st_size for path in DatasetFolder(tmp_path / "new").label_files())
    assert not record["excess"]
    assert record["bytes"] <= budget
    why = json.loads((tmp_path / "new" / "recipe.json").read_text())["label_choice"]
    assert (why["budget_bytes"], why["measured_on"]) == (budget, f"views with their labels as {before}")
    best = min((choice for choice in why["choices"] if choice["fits"]), key=lambda choice: choice["loss"])
    assert (best["codec"], best["epochs"]) == (record["codec"], record["epochs"])
    assert sum("<- chosen" in line for line in lines) == 1
    assert len(lines) == 2 + len(why["choices"])


def test_a_budget_can_be_limited_to_one_codec(published: Published, tmp_path: Path) -> None:
    record = reencode(str(published["float16"]), tmp_path / "new", codec="int4", budget=10**6)
    assert (record["codec"], record["epochs"]) == ("int4", 12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codec": "features"}, "features cannot be computed from logits; distil again with --label-codec features"),
        ({"codec": "float16"}, "already holds 12 epochs of labels as float16; give another --codec"),
        ({"codec": "int8", "epochs": 13}, "--epochs must be between 1 and 12, got 13"),
        ({"codec": "int8", "epochs": 0}, "--epochs must be between 1 and 12, got 0"),
        ({"codec": "int7"}, "unknown label codec 'int7'"),
        ({"codec": "topk:3"}, "topk:N must keep 1 to 2 of the 3 classes, got N = 3"),
        ({"budget": 100}, "a label budget of 100 bytes is too small"),
    ],
)
def test_an_impossible_request_is_refused_and_leaves_nothing(
    published: Published, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        reencode(str(published["float16"]), tmp_path / "new", **changes)
    assert list(tmp_path.iterdir()) == []


def test_places_inside_a_run_or_dataset_are_refused(published: Published, tmp_path: Path) -> None:
    old = published["float16"]
    alone = Path(shutil.copytree(old, tmp_path / "alone"))
    for place in (old / "new", old.parent / "new", alone / "new"):
        with pytest.raises(InputError, match="which may hold no other files"):
            reencode(str(alone), place, codec="int8")
    with pytest.raises(InputError, match="exists already"):
        reencode(str(alone), alone, codec="int8")
    assert check_files(DatasetFolder(alone)).faults == []


@pytest.mark.parametrize(
    "name",
    [
        *("recipe.json", "classes.json", "teacher_head.parquet", "images/train-000000.tar"),
        *("soft_labels/epochs-000010-000011.parquet", "lineage/train-000000.parquet", "report/mosaics.jpg"),
    ],
)
def test_a_damaged_file_is_named_and_nothing_is_left(published: Published, tmp_path: Path, name: str) -> None:
    old = Path(shutil.copytree(published["features"], tmp_path / "old"))
    data = bytearray((old / name).read_bytes())
    data[len(data) // 2] ^= 1
    (old / name).write_bytes(bytes(data))
    with pytest.raises(InputError, match=rf"{name} is damaged.*see rded verify"):
        reencode(str(old), tmp_path / "new", codec="int8")
    assert list(tmp_path.iterdir()) == [old]


def test_epochs_left_out_need_not_be_whole(published: Published, tmp_path: Path) -> None:
    old = Path(shutil.copytree(published["float16"], tmp_path / "old"))
    (old / "soft_labels" / "epochs-000010-000011.parquet").unlink()
    assert reencode(str(old), tmp_path / "new", codec="int8", epochs=10)["epochs"] == 10


@pytest.mark.parametrize("codec", ["float16", "features"])
def test_bytes_by_column_add_up_to_the_files(published: Published, codec: str) -> None:
    labels = StoredLabels(str(published[codec]))
    columns = count_bytes(labels)
    assert sum(columns.values()) == labels.folder.label_bytes()
    assert min(columns.values()) > 0
    assert list(columns)[-1] == OVERHEAD


def test_description_equals_a_direct_computation(published: Published) -> None:
    labels = StoredLabels(str(published["float16"]))
    description = describe(labels)
    probs = torch.cat([_epoch(published["float16"], epoch) for epoch in range(12)]).double().softmax(dim=1)
    assert description.num_views == len(probs) == description.sums.views.sum()
    expected = -(probs * probs.log()).sum()
    assert float(description.sums.sharp.sum()) == pytest.approx(float(expected), rel=1e-6)
    assert (description.sums.agree <= description.sums.views).all()
    assert (description.plain.views <= description.sums.views).all()
    assert (description.sums.soft >= description.sums.sharp).all(), "a higher temperature is less sure"


def test_views_of_one_image_are_what_students_see(published: Published) -> None:
    labels = StoredLabels(str(published["float16"]))
    views = show_views(labels, labels.keys[1])
    assert [view.epoch for view in views] == [0, 2, 4, 6, 8, 10]
    for view in views:
        rows = labels.read_epoch(view.epoch).rows.tolist()
        torch.testing.assert_close(view.logits, _epoch(published["float16"], view.epoch)[rows.index(1)])
        assert view.pixels.shape == (3, 32, 32)


@pytest.mark.parametrize("during", ["_in_codec", "_measure_loss", "_describe"])
def test_a_dataset_replaced_meanwhile_is_reported(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, during: str
) -> None:
    """As when its run is distilled again: labels of one dataset never meet images of the other."""
    old = Path(shutil.copytree(published["float16"], tmp_path / "old"))
    step = getattr(reencode_module, during)

    def swap(*arguments: Any) -> Any:
        done = step(*arguments)
        shutil.rmtree(old)
        shutil.copytree(published["features"], old)
        return done

    monkeypatch.setattr(reencode_module, during, swap)
    with pytest.raises(InputError, match="old was replaced by another dataset meanwhile; run the command again"):
        reencode(str(old), tmp_path / "new", codec="int8")
    assert list(tmp_path.iterdir()) == [old]


def test_labels_above_their_budget_are_reported() -> None:
    assert describe_excess(None, 10**9, "--budget") == describe_excess({"budget_bytes": 100}, 100, "--budget") == []
    (line,) = describe_excess({"budget_bytes": 100}, 101, "--budget")
    assert line == "labels take 101 bytes, more than the 100 of --budget; give a smaller one"


def test_fewer_epochs_lose_what_views_differ_by(published: Published, tmp_path: Path) -> None:
    records = [reencode(str(published["float16"]), tmp_path / str(n), epochs=n) for n in (6, 3, 1)]
    assert 0 < records[0]["reuse_nats"] < records[1]["reuse_nats"] < records[2]["reuse_nats"]
    assert all(any(line.startswith("reuse ") for line in describe_new(record)) for record in records)
