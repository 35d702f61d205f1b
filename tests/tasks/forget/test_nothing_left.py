"""Nothing is left of a forgotten image, under any of its names and in any file."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from rded_core.io.formats.images import RejectedImage
from rded_core.io.layout.run import RunFolder
from rded_core.io.run.candidates import read_candidate
from rded_core.io.run.forgotten import read_forgotten
from tests.tasks.forget.runs import (
    Forget,
    MakeConfig,
    RunUndecorated,
    drawn,
    killed_at,
    lineage_of,
    lineage_row,
    listings,
    sums_of,
    sums_of_a_fresh_run,
    traces,
)


def test_no_trace_is_left(run: Path, shared_source: Path, forget: Forget) -> None:
    row = lineage_row(run, class_index=2)
    data = (shared_source / row["source_uri"]).read_bytes()
    digest, uri = row["source_sha256"].encode(), row["source_uri"].encode()
    half = [f"work/candidates/.x.tar.{writer}.tmp" for writer in ("999999999", "elsewhere-1", os.getppid())]
    for stray in (*half, "work/squeeze/.x.tar.elsewhere-1.tmp", "work/dataset/images/x", "work/dataset.old/x"):
        (run / stray).parent.mkdir(parents=True, exist_ok=True)
        (run / stray).write_bytes(data)
    assert traces(run, data)
    forget(run, row["source_sha256"])
    assert not traces(run, data, digest)
    assert {name.partition(":")[0] for name in traces(run, uri)} <= listings(run), "the source still lists it"


def test_not_even_the_name_is_left_if_the_source_lost_the_image(
    image_folder: Path, make_config: MakeConfig, run_undecorated: RunUndecorated, forget: Forget, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run_undecorated(make_config(run, source=str(image_folder)))
    uri = lineage_row(run)["source_uri"]
    (image_folder / uri).unlink()
    forget(run, uri)
    assert not traces(run, uri.encode())


@pytest.mark.parametrize("killed", [False, True])
def test_name_is_removed_if_the_image_was_lost_while_tiling(
    run: Path, make_config: MakeConfig, run_undecorated: RunUndecorated, forget: Forget,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, killed: bool,
) -> None:  # fmt: skip
    """No selection shows it then, and tiling again gives the same images; only records and report name it."""
    uri, read = lineage_row(run)["source_uri"], read_candidate

    def lose(run: RunFolder, unit: str, row: dict[str, Any], **rest: Any) -> bytes:
        if row["source_uri"] == uri:
            raise RejectedImage("changed", uri)
        return read(run, unit, row, **rest)

    with monkeypatch.context() as patch:
        patch.setattr("tasks.patches.tile.read_candidate", lose)
        shutil.rmtree(run / "work" / "squeeze")
        run_undecorated(make_config(run))
    named = {name.partition(":")[0] for name in traces(run, uri.encode())}
    assert {"dataset/report/index.html", "work/publish/dataset.json"} < named
    assert any(name.startswith("work/squeeze/") for name in named)
    if killed:  # after candidates and scores are scrubbed, before anything else is
        with killed_at("tasks.forget.scrub._images_are_free"):
            forget(run, uri)
    forget(run, uri)
    assert {name.partition(":")[0] for name in traces(run, uri.encode())} <= listings(run)
    assert sums_of(run) == sums_of_a_fresh_run(run, make_config(tmp_path / "fresh"), run_undecorated)


@pytest.mark.parametrize("change", [{}, {"num_candidates": 12}, {"observer": "rded:convnet4"}, {"seed": 3}])
def test_no_later_run_brings_it_back(
    run: Path, forget: Forget, make_config: MakeConfig, run_undecorated: RunUndecorated, save_untrained: Any,
    change: dict[str, Any],
) -> None:  # fmt: skip
    row = lineage_row(run)
    forget(run, row["source_uri"])
    if "observer" in change:
        change = {**change, "weights": str(save_untrained(arch="convnet4")), "force": True}
    run_undecorated(make_config(run, **change))
    assert not traces(run, row["source_sha256"].encode())


def test_class_that_left_the_run_forgets_too(
    run: Path, forget: Forget, make_config: MakeConfig, run_undecorated: RunUndecorated, tmp_path: Path
) -> None:
    row = lineage_row(run, class_index=1)
    run_undecorated(make_config(run, classes=("1", "2")))
    without = sums_of(run)
    assert traces(run, row["source_sha256"].encode())
    done = forget(run, row["source_uri"])
    assert sums_of(run) == without
    assert [image["classes"] for image in done["images"]] == [["10"]]
    assert not traces(run, row["source_sha256"].encode())
    run_undecorated(make_config(run))
    assert not traces(run, row["source_sha256"].encode())
    assert sums_of(run) == sums_of_a_fresh_run(run, make_config(tmp_path / "fresh"), run_undecorated)


def test_labels_of_epochs_no_longer_recorded_are_removed(
    run: Path, make_config: MakeConfig, run_undecorated: RunUndecorated
) -> None:
    stale = run / "work" / "soft_labels" / "epochs-000010-000011.parquet"
    assert stale.exists()
    run_undecorated(make_config(run, label_epochs=8))
    assert not stale.exists()


def test_a_users_copy_of_a_table_is_not_a_class_and_is_not_removed(run: Path, forget: Forget) -> None:
    (table,) = (run / "work" / "candidates").glob("1-*.parquet")
    copy = Path(shutil.copy(table, table.with_name("backup.parquet")))
    forget(run, lineage_row(run)["source_uri"])
    assert copy.is_file()
    assert list(read_forgotten(RunFolder(run)).by_class) == ["1"]


@pytest.mark.parametrize("name", ["random", "mosaic"])
def test_control_that_shows_it_is_removed(
    run: Path, forget: Forget, make_config: MakeConfig, run_undecorated: RunUndecorated, name: str
) -> None:
    control = RunFolder(run).control(name)
    run_undecorated(make_config(control, selection=name, force=True))
    shown = {row["source_uri"] for row in lineage_of(control)}
    assert forget(run, min(drawn(run, "1") - shown))["controls"] == []
    assert control.exists()
    assert forget(run, lineage_of(control)[0]["source_uri"])["controls"] == [name]
    assert not control.exists()


def test_undecodable_images_are_forgotten_by_name(
    image_folder: Path, make_config: MakeConfig, run_undecorated: RunUndecorated, forget: Forget, tmp_path: Path
) -> None:
    broken = image_folder / "1" / "000.jpg"
    broken.write_bytes(broken.read_bytes()[:700])
    run = tmp_path / "run"
    run_undecorated(make_config(run, source=str(image_folder), num_candidates=12))
    run_undecorated(
        make_config(RunFolder(run).control("random"), source=str(image_folder), num_candidates=12, selection="random")
    )
    assert any("report" in name for name in traces(run, b"1/000.jpg"))
    done = forget(run, "1/000.jpg")
    assert done["controls"] == ["random"]
    assert {name.partition(":")[0] for name in traces(run, b"1/000.jpg")} <= listings(run)


def test_copies_under_other_names_and_in_other_classes_are_forgotten_too(
    image_folder: Path, make_config: MakeConfig, run_undecorated: RunUndecorated, forget: Forget, tmp_path: Path
) -> None:
    for folder, number in (("1", "100"), ("2", "100"), ("2", "101")):
        shutil.copy(image_folder / "1" / "000.jpg", image_folder / folder / f"{number}.jpg")
    config = make_config(tmp_path / "run", source=str(image_folder), num_candidates=14)
    run_undecorated(config)
    done = forget(tmp_path / "run", "2/101.jpg")
    assert [(image["uris"], image["classes"]) for image in done["images"]] == [
        (["1/000.jpg", "1/100.jpg", "2/100.jpg", "2/101.jpg"], ["1", "2"])
    ]
    assert not traces(tmp_path / "run", (image_folder / "1" / "000.jpg").read_bytes())


def test_the_list_survives_the_loss_of_its_first_copy(
    run: Path, forget: Forget, make_config: MakeConfig, run_undecorated: RunUndecorated
) -> None:
    row = lineage_row(run)
    forget(run, row["source_uri"])
    sums = sums_of(run)
    (run / "forgotten.json").unlink()
    run_undecorated(make_config(run))
    assert sums_of(run) == sums
