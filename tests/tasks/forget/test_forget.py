"""After forgetting, a run is as if the image had never been in its source."""

import hashlib
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rded_core.errors import InputError
from rded_core.io.formats import tables
from rded_core.io.formats.shards import write_shard
from rded_core.io.layout.run import RunFolder
from rded_core.io.lineage.known_images import find_images_named
from rded_core.io.run.forgotten import read_forgotten
from tests.tasks.forget.runs import (
    Forget,
    MakeConfig,
    RunUndecorated,
    files_of,
    lineage_of,
    lineage_row,
    sums_of,
    sums_of_a_fresh_run,
    traces,
)


def test_run_after_forgetting_equals_one_without_the_image(
    run: Path, forget: Forget, make_config: MakeConfig, run_undecorated: RunUndecorated, tmp_path: Path
) -> None:
    before, used = sums_of(run), lineage_row(run)
    done = forget(run, used["source_uri"])
    assert sums_of(run) != before
    assert used["source_uri"] not in {row["source_uri"] for row in lineage_of(run)}
    assert [row["key"] for row in done["uses"]] == [used["key"]]
    assert [row["class_index"] for row in done["refilled"]] == [0]
    assert (done["num_images"], done["num_labels"]) == (6, 6 * 12)
    assert sums_of(run) == sums_of_a_fresh_run(run, make_config(tmp_path / "fresh"), run_undecorated)


def test_only_passes_with_a_changed_image_are_labelled_again(
    forget: Forget, make_config: MakeConfig, run_undecorated: RunUndecorated, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("tasks.labels.passes.CPU_ROWS", 2)
    run_undecorated(make_config(tmp_path / "run", label_batch_size=2))
    done = forget(tmp_path / "run", lineage_row(tmp_path / "run")["source_uri"])
    assert 0 < done["num_labels_made"] < done["num_labels"]
    fresh = make_config(tmp_path / "fresh", label_batch_size=2)
    assert sums_of(tmp_path / "run") == sums_of_a_fresh_run(tmp_path / "run", fresh, run_undecorated)


def test_nothing_is_scored_again(run: Path, forget: Forget, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("scored")

    monkeypatch.setattr("tasks.patches.score.score_group", fail)
    forget(run, lineage_row(run)["source_uri"])


def test_uri_and_sha256_are_equivalent(run: Path, finished: Path, forget: Forget, tmp_path: Path) -> None:
    other = Path(shutil.copytree(finished, tmp_path / "other"))
    row = lineage_row(run)
    forget(run, row["source_uri"])
    forget(other, row["source_sha256"].upper())
    assert sums_of(run) == sums_of(other)
    assert read_forgotten(RunFolder(run)) == read_forgotten(RunFolder(other))


def test_forgetting_together_equals_one_by_one(
    finished: Path, forget: Forget, make_config: MakeConfig, run_undecorated: RunUndecorated, tmp_path: Path
) -> None:
    names = [
        lineage_row(finished, rank=rank, class_index=index)["source_uri"] for index, rank in ((0, 0), (0, 5), (2, 3))
    ]
    together, singly = (Path(shutil.copytree(finished, tmp_path / name)) for name in ("together", "singly"))
    done = forget(together, *names)
    assert [image["classes"] for image in sorted(done["images"], key=lambda image: image["uris"])] == [
        ["1"], ["1"], ["2"],
    ]  # fmt: skip
    for name in reversed(names):
        forget(singly, name)
    assert (
        sums_of(together)
        == sums_of(singly)
        == sums_of_a_fresh_run(together, make_config(tmp_path / "new"), run_undecorated)
    )


def test_forgetting_twice_equals_once(run: Path, forget: Forget) -> None:
    row = lineage_row(run)
    forget(run, row["source_uri"])
    sums = sums_of(run)
    before = files_of(run)
    assert forget(run, row["source_uri"], row["source_sha256"]) == {"already": [row["source_sha256"]]}
    assert files_of(run) == before
    other = lineage_row(run, class_index=1)
    done = forget(run, row["source_uri"], other["source_uri"])
    assert {use["source_sha256"] for use in done["uses"]} == {other["source_sha256"]}
    assert sums_of(run) != sums


def test_each_table_is_read_once_for_any_number_of_names(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    find_rows = tables.find_rows
    for module in ("tables", "known_images"):
        monkeypatch.setattr(
            f"rded_core.io.lineage.{module}.find_rows", lambda path, *rest: read.append(path) or find_rows(path, *rest)
        )
    rows = [lineage_row(run, class_index=index, rank=rank) for index in range(3) for rank in range(3)]
    names = [row["source_uri"] for row in rows] + [row["source_sha256"] for row in rows]
    named = find_images_named(RunFolder(run), names)
    assert {(name, *images) for name, images in named.items()} == {
        (row[key], row["source_sha256"]) for row in rows for key in ("source_uri", "source_sha256")
    }
    assert len(read) == len(set(read))


def test_unused_image_is_noted(
    run: Path, shared_source: Path, forget: Forget, make_config: MakeConfig, run_undecorated: RunUndecorated
) -> None:
    drawn = {
        row["source_uri"] for row in pq.read_table(next((run / "work/candidates").glob("1-*.parquet"))).to_pylist()
    }
    left_over = next(
        f"1/{path.name}" for path in sorted((shared_source / "1").iterdir()) if f"1/{path.name}" not in drawn
    )
    before, data = sums_of(run), (shared_source / left_over).read_bytes()
    done = forget(run, left_over, hashlib.sha256(b"never seen").hexdigest())
    assert sums_of(run) == before
    assert sorted(image["uris"] for image in done["images"]) == [[], [left_over]]
    run_undecorated(make_config(run, num_candidates=12))
    assert not traces(run, data)


def test_too_few_candidates_left_is_refused_before_any_change(run: Path, forget: Forget) -> None:
    before = files_of(run)
    names = [lineage_row(run, rank=rank)["source_uri"] for rank in range(3)]
    with pytest.raises(InputError, match=r"class '1' would have 7 usable candidates left, but 8 are needed; nothing"):
        forget(run, *names)
    assert files_of(run) == before


def test_too_few_candidates_left_make_fewer_images_if_allowed(
    forget: Forget, make_config: MakeConfig, run_undecorated: RunUndecorated, tmp_path: Path
) -> None:
    config = make_config(tmp_path / "run", allow_fewer=True)
    run_undecorated(config)
    names = [lineage_row(tmp_path / "run", rank=rank)["source_uri"] for rank in range(3)]
    forget(tmp_path / "run", *names)
    assert [entry["num_images"] for entry in json.loads((tmp_path / "run/dataset/classes.json").read_text())] == [
        1,
        2,
        2,
    ]
    fresh = make_config(tmp_path / "fresh", allow_fewer=True)
    assert sums_of(tmp_path / "run") == sums_of_a_fresh_run(tmp_path / "run", fresh, run_undecorated)


def test_unknown_name_lists_what_was_searched(run: Path, shared_source: Path, forget: Forget) -> None:
    with pytest.raises(
        InputError, match=rf"unknown image '1/nowhere.jpg'.*3 classes.*lineage.*36 images of {shared_source}"
    ):
        forget(run, "1/nowhere.jpg")
    assert not (run / "forgotten.json").exists()


def test_replaced_source_image_is_forgotten_in_both_versions(
    image_folder: Path, make_config: MakeConfig, run_undecorated: RunUndecorated, forget: Forget, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run_undecorated(make_config(run, source=str(image_folder)))
    row = lineage_row(run)
    path = image_folder / row["source_uri"]
    path.write_bytes((image_folder / "2" / "000.jpg").read_bytes() + b"\0")
    now = hashlib.sha256(path.read_bytes()).hexdigest()
    forget(run, row["source_uri"])
    assert read_forgotten(RunFolder(run)).sha256 == {row["source_sha256"], now}


def test_tars_read_in_place(
    shared_source: Path, make_config: MakeConfig, run_undecorated: RunUndecorated, forget: Forget, tmp_path: Path
) -> None:
    samples = [
        (f"s{name}_{path.stem}", {"jpg": path.read_bytes(), "cls": name.encode()})
        for name in ("1", "10", "2")
        for path in sorted((shared_source / name).iterdir())
    ]
    write_shard(tmp_path / "tars" / "part-000000.tar", samples)
    source = str(tmp_path / "tars")
    run_undecorated(make_config(tmp_path / "run", source=source))
    row = lineage_row(tmp_path / "run", class_index=1, rank=2)
    assert row["source_uri"].startswith("part-000000.tar/s2_")
    forget(tmp_path / "run", row["source_uri"])
    assert not traces(tmp_path / "run", row["source_sha256"].encode())
    fresh = make_config(tmp_path / "fresh", source=source)
    assert sums_of(tmp_path / "run") == sums_of_a_fresh_run(tmp_path / "run", fresh, run_undecorated)


@pytest.mark.slow
def test_rounded_scores_become_exact_again_if_a_best_one_is_removed(
    forget: Forget, make_config: MakeConfig, run_undecorated: RunUndecorated, tmp_path: Path
) -> None:
    run_undecorated(make_config(tmp_path / "run", precision="bfloat16"))
    forget(tmp_path / "run", lineage_row(tmp_path / "run")["source_uri"])
    fresh = make_config(tmp_path / "fresh", precision="bfloat16")
    assert sums_of(tmp_path / "run") == sums_of_a_fresh_run(tmp_path / "run", fresh, run_undecorated)
