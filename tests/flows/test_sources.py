"""Sources that are not a clean folder: tars, broken images, small classes; and the controls."""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from flows.distill import distill
from rded_core.config import DistillConfig
from rded_core.errors import InputError
from rded_core.io.formats.shards import read_shard, write_shard
from rded_core.patches.crops import centre_box

MakeConfig = Callable[..., DistillConfig]
RunUndecorated = Callable[[DistillConfig], Path]


def _write_tars(folder: Path, source: Path) -> dict[str, bytes]:
    """Writes the image folder as two tars with integer labels; returns each image's bytes by member name."""
    members: dict[str, bytes] = {}
    for number in range(2):
        samples: list[tuple[str, dict[str, bytes]]] = []
        for index, name in enumerate(("1", "10", "2")):
            for path in sorted((source / name).iterdir())[number::2]:
                key = f"s{index}_{path.stem}"
                members[f"{key}.jpg"] = path.read_bytes()
                samples.append((key, {"jpg": path.read_bytes(), "cls": str(index).encode()}))
        write_shard(folder / f"part-{number:06d}.tar", samples)
    entries = [{"index": index, "folder": name} for index, name in enumerate(("1", "10", "2"))]
    (folder / "classes.json").write_text(json.dumps(entries))
    return members


@pytest.mark.parametrize("spec", ["tars", "tars/part-{000000..000001}.tar"])
def test_tars_are_distilled_in_place(
    shared_source: Path, make_config: MakeConfig, run_undecorated: RunUndecorated, tmp_path: Path, spec: str
) -> None:
    members = _write_tars(tmp_path / "tars", shared_source)
    dataset = run_undecorated(make_config(tmp_path / "run", source=str(tmp_path / spec), label_epochs=1))
    assert not list((tmp_path / "run" / "work" / "candidates").glob("*.tar"))
    assert [entry["folder"] for entry in json.loads((dataset / "classes.json").read_text())] == ["1", "10", "2"]
    rows = pq.read_table(dataset / "lineage").to_pylist()
    assert len(rows) == 24
    for row in rows:
        tar, _, member = row["source_uri"].partition("/")
        assert tar in ("part-000000.tar", "part-000001.tar")
        assert hashlib.sha256(members[member]).hexdigest() == row["source_sha256"]


def test_candidates_of_a_folder_are_copied_unchanged(finished_run: Path, shared_source: Path) -> None:
    stored = [
        files["jpg"]
        for tar in sorted((finished_run / "work" / "candidates").glob("*.tar"))
        for _, files in read_shard(tar)
    ]
    originals = {path.read_bytes() for path in shared_source.rglob("*.jpg")}
    assert len(stored) == 30
    assert set(stored) <= originals


def _spoil(folder: Path) -> None:
    """Adds a truncated image, a text file named .jpg and an empty file to class 10."""
    whole = (folder / "10" / "000.jpg").read_bytes()
    (folder / "10" / "truncated.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    (folder / "10" / "text.jpg").write_text("no picture at all\n" * 20)
    (folder / "10" / "empty.jpg").touch()


@pytest.mark.usefixtures("prefect_harness")
def test_rejected_images_are_counted_by_reason(image_folder: Path, make_config: MakeConfig, tmp_path: Path) -> None:
    _spoil(image_folder)
    out = tmp_path / "run"
    distill(make_config(out, source=str(image_folder), num_candidates=15, label_epochs=1))
    report = (out / "dataset" / "report" / "index.html").read_text()
    assert "source images rejected: 1 empty, 1 not_an_image, 1 truncated: " in report
    assert "10/truncated.jpg (truncated)" in report
    assert "classes with fewer than 15 candidates: 3" in report
    spoilt = json.loads((out / "dataset" / "classes.json").read_text())[1]
    assert (spoilt["num_source"], spoilt["num_candidates"], spoilt["num_images"]) == (15, 12, 2)
    uris = pq.read_table(out / "dataset" / "lineage")["source_uri"].to_pylist()
    assert not {"10/truncated.jpg", "10/text.jpg", "10/empty.jpg"} & set(uris)


def _shrink(folder: Path, num_left: int) -> None:
    for path in sorted((folder / "2").iterdir())[num_left:]:
        path.unlink()


def test_small_class_gets_fewer_images_if_allowed(
    image_folder: Path, make_config: MakeConfig, run_undecorated: RunUndecorated, tmp_path: Path
) -> None:
    _shrink(image_folder, 5)
    config = make_config(tmp_path / "run", source=str(image_folder), allow_fewer=True, label_epochs=1)
    dataset = run_undecorated(config)
    assert [entry["num_images"] for entry in json.loads((dataset / "classes.json").read_text())] == [2, 2, 1]
    assert json.loads((dataset / "recipe.json").read_text())["num_images"] == 5
    assert "classes with fewer than 2 images: 1 (first: 2)" in (dataset / "report" / "index.html").read_text()


def test_small_class_stops_the_run_otherwise(
    image_folder: Path, make_config: MakeConfig, run_undecorated: RunUndecorated, tmp_path: Path
) -> None:
    _shrink(image_folder, 5)
    with pytest.raises(InputError, match=r"class '2' has 5 .*lower --ipc to 1, or pass --allow-fewer"):
        run_undecorated(make_config(tmp_path / "run", source=str(image_folder)))


def test_class_whose_images_do_not_decode_stops_the_run(
    image_folder: Path, make_config: MakeConfig, run_undecorated: RunUndecorated, tmp_path: Path
) -> None:
    for path in sorted((image_folder / "10").iterdir())[:5]:
        path.write_bytes(path.read_bytes()[:700])
    config = make_config(tmp_path / "run", source=str(image_folder), num_candidates=12, max_rejected=1.0)
    with pytest.raises(InputError, match=r"class '10' has 7 usable images.*lower --ipc to 1,"):
        run_undecorated(config)
    assert not (tmp_path / "run" / "dataset").exists()


def test_class_without_a_usable_image_does_not_suggest_allow_fewer(
    image_folder: Path, make_config: MakeConfig, run_undecorated: RunUndecorated, tmp_path: Path
) -> None:
    for path in (image_folder / "10").iterdir():
        path.write_text("no picture")
    config = make_config(tmp_path / "run", source=str(image_folder), allow_fewer=True, force=True, max_rejected=1.0)
    with pytest.raises(InputError, match="class '10' has 0 usable images") as raised:
        run_undecorated(config)
    assert "pass --allow-fewer" not in str(raised.value), "it was already given"


@pytest.mark.parametrize(("selection", "patches"), [("mosaic", 4), ("random", 1)])
def test_controls_are_unscored(
    make_config: MakeConfig,
    run_undecorated: RunUndecorated,
    shared_source: Path,
    tmp_path: Path,
    selection: str,
    patches: int,
) -> None:
    dataset = run_undecorated(make_config(tmp_path / "run", selection=selection, label_epochs=1))
    rows = pq.read_table(dataset / "lineage").to_pylist()
    assert len(rows) == patches * 2 * 3
    assert all(row["score_nats"] is None for row in rows)
    assert "This set is a control" in (dataset / "report" / "index.html").read_text()
    if selection == "random":
        for row in rows:
            with Image.open(shared_source / row["source_uri"]) as image:
                box = centre_box(image.height, image.width)
            assert (row["box_top"], row["box_left"], row["box_height"], row["box_width"]) == box


def test_vanished_source_image_is_rejected_not_fatal(
    image_folder: Path, make_config: MakeConfig, run_undecorated: RunUndecorated, tmp_path: Path
) -> None:
    (image_folder / "1" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    config = make_config(tmp_path / "run", source=str(image_folder), num_candidates=13, label_epochs=1)
    report = (run_undecorated(config) / "report" / "index.html").read_text()
    assert "source images rejected: 1 missing: " in report


def test_source_folder_is_left_unchanged(
    image_folder: Path, make_config: MakeConfig, run_undecorated: RunUndecorated, tmp_path: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in image_folder.rglob("*")}
    run_undecorated(make_config(tmp_path / "run", source=str(image_folder), label_epochs=1))
    shutil.rmtree(tmp_path / "run")
    assert {path: path.stat().st_mtime_ns for path in image_folder.rglob("*")} == before


def test_files_that_are_left_out_are_in_the_log_the_record_and_the_report(
    image_folder: Path,
    make_config: MakeConfig,
    run_undecorated: RunUndecorated,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (image_folder / "10" / "more.heic").write_bytes(b"photograph")
    (image_folder / "10" / "boxes.xml").write_bytes(b"<box/>")
    caplog.set_level(logging.INFO)
    dataset = run_undecorated(make_config(tmp_path / "run", source=str(image_folder), label_epochs=1))
    lost = "files that end in .heic, which is not read: 1 (the first: 10/more.heic)"
    other = "files that hold no image by their names: 1 (the first: 10/boxes.xml)"
    assert json.loads((tmp_path / "run" / "run.json").read_text())["source"]["left_out"] == [other, lost]
    report = (dataset / "report" / "index.html").read_text()
    assert f"left out of the source: {lost}" in report
    assert "boxes.xml" not in report
    levels = {record.getMessage(): record.levelname for record in caplog.records}
    assert levels[f"left out of {image_folder}: {lost}"] == "WARNING"
    assert levels[f"left out of {image_folder}: {other}"] == "INFO"
