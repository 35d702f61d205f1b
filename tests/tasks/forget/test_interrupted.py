"""Forgetting that is killed, fails, or meets another writer."""

import shutil
from contextvars import Context
from pathlib import Path
from typing import Any

import pytest

from rded_core.errors import InputError
from rded_core.io.layout.run import RunFolder
from rded_core.io.run.forgotten import begin_forgetting, end_forgetting, is_forgetting, read_begun
from rded_core.io.run.lock import only_writer
from tasks.run.plan import RunPlan
from tests.tasks.forget.runs import (
    Forget,
    MakeConfig,
    RunUndecorated,
    files_of,
    killed_at,
    lineage_row,
    sums_of,
    traces,
)


def test_next_run_finishes_a_forgetting_killed_after_the_note(
    run: Path, finished: Path, forget: Forget, make_config: MakeConfig, run_undecorated: RunUndecorated,
    tmp_path: Path,
) -> None:  # fmt: skip
    whole = Path(shutil.copytree(finished, tmp_path / "whole"))
    uri = lineage_row(run)["source_uri"]
    with killed_at("tasks.forget.forget.scrub"):
        forget(run, uri)
    again = Path(shutil.copytree(run, tmp_path / "again"))
    forget(whole, uri)
    run_undecorated(make_config(run))
    assert sums_of(run) == sums_of(whole)
    done = forget(again, uri)
    assert done["uses"]
    assert sums_of(again) == sums_of(whole)


@pytest.mark.parametrize("killed", ["write_rows", "write_record", "write_shard", "drop_unit"])
def test_next_run_finishes_a_forgetting_killed_while_scrubbing(
    run: Path, finished: Path, forget: Forget, make_config: MakeConfig, run_undecorated: RunUndecorated,
    tmp_path: Path, killed: str,
) -> None:  # fmt: skip
    whole = Path(shutil.copytree(finished, tmp_path / "whole"))
    uri = lineage_row(run)["source_uri"]
    with killed_at(f"tasks.forget.scrub.{killed}"):
        forget(run, uri)
    forget(whole, uri)
    run_undecorated(make_config(run))
    assert sums_of(run) == sums_of(whole)


@pytest.mark.parametrize(
    "killed", ["tasks.forget.forget.write_forgotten", "tasks.forget.forget.scrub", "flows.forget.run_stages"]
)
def test_killed_forgetting_is_finished_by_the_same_name_after_the_source_lost_the_image(
    image_folder: Path, make_config: MakeConfig, run_undecorated: RunUndecorated, forget: Forget,
    tmp_path: Path, killed: str,
) -> None:  # fmt: skip
    config = make_config(tmp_path / "run", source=str(image_folder))
    run_undecorated(config)
    run_undecorated(
        make_config(RunFolder(tmp_path / "run").control("random"), source=str(image_folder), selection="random")
    )
    run, row = tmp_path / "run", lineage_row(tmp_path / "run")
    with killed_at(killed):
        forget(run, row["source_uri"])
    (image_folder / row["source_uri"]).unlink()
    if "distill" in killed:
        run_undecorated(config)
    done = forget(run, row["source_uri"])
    assert [(image["sha256"], image["uris"]) for image in done["images"]] == [
        (row["source_sha256"], [row["source_uri"]])
    ]
    assert not traces(run, row["source_uri"].encode(), row["source_sha256"].encode())
    with pytest.raises(InputError, match="all that is kept of a forgotten image"):
        forget(run, row["source_uri"])


def test_killed_forgetting_is_finished_with_the_next_one(
    run: Path,
    forget: Forget,
) -> None:
    rows = [lineage_row(run, class_index=index) for index in (0, 1)]
    with killed_at("tasks.forget.forget.scrub"):
        forget(run, rows[0]["source_uri"])
    done = forget(run, rows[1]["source_uri"])
    assert {image["sha256"] for image in done["images"]} == {row["source_sha256"] for row in rows}
    assert not traces(run, *(row["source_sha256"].encode() for row in rows))


def test_damaged_candidates_are_drawn_again_without_the_image(
    run: Path, finished: Path, forget: Forget, tmp_path: Path
) -> None:
    whole = Path(shutil.copytree(finished, tmp_path / "whole"))
    row = lineage_row(run)
    (tar,) = (run / "work" / "candidates").glob("1-*.tar")
    tar.write_bytes(tar.read_bytes()[:-1000])
    for place in (run, whole):
        forget(place, row["source_uri"])
    assert sums_of(run) == sums_of(whole)
    assert not traces(run, row["source_sha256"].encode())


def test_another_writer_is_reported(run: Path, forget: Forget) -> None:
    other, lock = Context(), only_writer(RunFolder(run))
    other.run(lock.__enter__)
    with pytest.raises(InputError, match="is being written by"):
        forget(run, lineage_row(run)["source_uri"])
    other.run(lock.__exit__, None, None, None)
    assert not (run / "forgotten.json").exists()


def test_no_other_process_writes_between_the_steps(run: Path, forget: Forget, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a second forgetting could begin there, and be finished together with this one."""
    import flows.forget

    run_stages, tried = flows.forget.run_stages, list[RunPlan]()

    def meddle(plan: RunPlan) -> dict[str, Any]:
        tried.append(plan)
        with pytest.raises(InputError, match="is being written by"):
            Context().run(only_writer(RunFolder(run)).__enter__)
        return run_stages(plan)

    monkeypatch.setattr("flows.forget.run_stages", meddle)
    forget(run, lineage_row(run)["source_uri"])
    assert tried


def test_only_the_given_images_are_finished(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    begin_forgetting(run, {"a": ["1/a"]}, ["1/a"])
    begin_forgetting(run, {"b": ["1/b"]}, ["1/b"])
    end_forgetting(run, ["a"])
    assert read_begun(run).images == {"b": ["1/b"]}
    end_forgetting(run, ["b"])
    assert not is_forgetting(run)


@pytest.mark.parametrize("names", [[], ["SHA-256"]])
def test_damaged_note_finishes_nothing(run: Path, forget: Forget, names: list[str]) -> None:
    digest = lineage_row(run)["source_sha256"]
    with killed_at("tasks.forget.forget.write_forgotten"):
        forget(run, digest)
    note = run / "work" / "forgetting.json"
    note.write_bytes(note.read_bytes()[:-9])
    with pytest.raises(
        InputError, match=r"forgetting\.json is damaged: .*delete the file, then name them again: rded f"
    ):
        forget(run, *(digest for _ in names))
    note.unlink()
    forget(run, digest)
    assert not traces(run, digest.encode())


def test_unfinished_run_is_finished_without_the_image(
    run: Path, finished: Path, forget: Forget, tmp_path: Path
) -> None:
    whole = Path(shutil.copytree(finished, tmp_path / "whole"))
    uri = lineage_row(run)["source_uri"]
    shutil.rmtree(run / "dataset")
    for stage in ("squeeze", "soft_labels", "publish"):
        shutil.rmtree(run / "work" / stage)
    for place in (run, whole):
        forget(place, uri)
    assert sums_of(run) == sums_of(whole)


def test_failure_names_the_dataset_that_still_shows_the_images(
    run: Path, finished: Path, forget: Forget, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object) -> None:
        raise InputError("the disk is full")

    whole = Path(shutil.copytree(finished, tmp_path / "whole"))
    uri = lineage_row(run)["source_uri"]
    with monkeypatch.context() as patch:
        patch.setattr("tasks.publish.publish.write_shard", fail)
        message = (
            "the disk is full; the images are noted as forgotten, but .*/run/dataset shows them until rded distill"
        )
        with pytest.raises(InputError, match=message):
            forget(run, uri)
    for place in (run, whole):
        forget(place, uri)
    assert sums_of(run) == sums_of(whole)


def test_missing_source_is_reported_before_any_change(
    image_folder: Path, make_config: MakeConfig, run_undecorated: RunUndecorated, forget: Forget, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run_undecorated(make_config(run, source=str(image_folder)))
    before, uri = files_of(run), lineage_row(run)["source_uri"]
    shutil.rmtree(image_folder)
    with pytest.raises(InputError):
        forget(run, uri)
    assert files_of(run) == before
