"""A restarted run does what is missing and leaves the rest unchanged."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.distill import distill
from rded_core.config import DistillConfig
from rded_core.errors import InputError
from rded_core.io.formats.images import RejectedImage
from rded_core.io.layout.run import RunFolder
from rded_core.io.layout.units import class_unit
from rded_core.io.run.candidates import read_candidate
from rded_core.io.run.forgotten import Forgotten, write_forgotten
from rded_core.io.sources.base import SourceItem
from rded_core.io.sources.reading import read_item

MakeConfig = Callable[..., DistillConfig]
RunUndecorated = Callable[[DistillConfig], Path]


@pytest.fixture
def copied_run(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def _sums(run: Path) -> str:
    return (run / "dataset" / "SHA256SUMS").read_text()


def _written(run: Path) -> dict[str, int]:
    """Maps each file of ``work/`` to its modification time, except run.json, which names the folder."""
    work = run / "work"
    files = (path for path in work.rglob("*") if path.is_file() and path != work / "run.json")
    return {path.relative_to(work).as_posix(): path.stat().st_mtime_ns for path in files}


def test_only_the_lost_unit_is_made_again(copied_run: Path, finished_run: Path, make_config: MakeConfig) -> None:
    (copied_run / "work" / "selection" / f"{class_unit('10')}.parquet").unlink()
    shutil.rmtree(copied_run / "dataset")
    before = _written(copied_run)
    distill(make_config(copied_run))
    assert _sums(copied_run) == _sums(finished_run)
    changed = {name for name, time_ns in _written(copied_run).items() if before.get(name) != time_ns}
    unit = class_unit("10")
    assert changed == {f"selection/{unit}.parquet", f"selection/{unit}.json", "publish/dataset.json"}


@pytest.mark.parametrize(
    "damaged",
    [
        f"candidates/{class_unit('2')}.tar",
        f"realism/{class_unit('10')}.parquet",
        f"squeeze/{class_unit('2')}.tar",
        "soft_labels/epochs-000010-000011.parquet",
    ],
)
def test_damaged_output_is_noticed_and_made_again(
    copied_run: Path, finished_run: Path, make_config: MakeConfig, run_undecorated: RunUndecorated, damaged: str
) -> None:
    path = copied_run / "work" / damaged
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    before = _written(copied_run)
    run_undecorated(make_config(copied_run))
    assert _sums(copied_run) == _sums(finished_run)
    changed = {name for name, time_ns in _written(copied_run).items() if before.get(name) != time_ns}
    assert damaged in changed
    changed.discard("publish/dataset.json")  # label tables share their inode with those in the dataset
    assert {name.rpartition(".")[0] for name in changed} == {damaged.rpartition(".")[0]}, "no other unit"


def test_run_without_run_json_is_resumed_as_the_error_says(
    copied_run: Path,
    finished_run: Path,
    make_config: MakeConfig,
    plain_flows: None,  # noqa: ARG001
) -> None:
    """The run holds all it can: a control, an evaluation, a list of forgotten images, a user's file in the dataset."""
    run, digest = RunFolder(copied_run), "0" * 64
    write_forgotten(run, Forgotten(frozenset([digest])))
    for name in ("work/controls/random/run.json", "work/evaluations/a.json", "evaluations/a.json", "dataset/notes.txt"):
        (copied_run / name).parent.mkdir(parents=True, exist_ok=True)
        (copied_run / name).write_text("{}")
    for path in (run.run_json, run.run_json_copy):
        path.write_text("not what it was")
    with pytest.raises(InputError, match="delete both and run rded distill with the same flags as before"):
        distill.fn(make_config(copied_run))
    for path in (run.run_json, run.run_json_copy):
        path.unlink()
    work = distill.fn(make_config(copied_run))["work"]
    assert {entry["stage"]: entry["made"] for entry in work if entry["made"]} == {}
    assert _sums(copied_run) == _sums(finished_run)
    assert run.run_json.is_file() and (copied_run / "dataset" / "notes.txt").is_file()


def test_run_resumes_with_other_neutral_settings(
    copied_run: Path, finished_run: Path, make_config: MakeConfig, run_undecorated: RunUndecorated
) -> None:
    shutil.rmtree(copied_run / "dataset")
    run_undecorated(make_config(copied_run, classes_per_shard=3, workers=1, force=True))
    assert _sums(copied_run) == _sums(finished_run)


def test_source_that_vanishes_while_drawing_stops_the_run(
    make_config: MakeConfig, run_undecorated: RunUndecorated, finished_run: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    config = make_config(tmp_path / "run")

    def vanish(_: SourceItem) -> bytes:
        raise RejectedImage("missing", "unmounted")

    with monkeypatch.context() as patch:
        patch.setattr("rded_core.io.sources.reading.read_item", vanish)
        with pytest.raises(InputError, match=r"12 of 12 images of class '1' can no longer be read .*run again"):
            run_undecorated(config)
    run_undecorated(config)
    assert _sums(tmp_path / "run") == _sums(finished_run)


def _break_reading(monkeypatch: pytest.MonkeyPatch, broken: set[str]) -> None:
    """Makes images with these keys unreadable while the patch lasts."""

    def read(item: SourceItem) -> bytes:
        if item.key in broken:
            raise RejectedImage("missing", "a flaky mount")
        return read_item(item)

    monkeypatch.setattr("rded_core.io.sources.reading.read_item", read)


def test_temporarily_unreadable_images_are_counted_and_retried(
    make_config: MakeConfig, run_undecorated: RunUndecorated, finished_run: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    config = make_config(tmp_path / "run")
    with monkeypatch.context() as patch:
        _break_reading(patch, {"10/003.jpg", "10/004.jpg"})
        run_undecorated(config)
    report = (tmp_path / "run" / "dataset" / "report" / "index.html").read_text()
    assert "source images rejected: 2 missing" in report
    assert "10/003.jpg (missing)" in report
    run_undecorated(config)
    assert _sums(tmp_path / "run") == _sums(finished_run), "they are readable again"


def test_too_many_rejected_images_stop_the_run_and_lose_nothing(
    make_config: MakeConfig, run_undecorated: RunUndecorated, image_folder: Path, tmp_path: Path
) -> None:
    for number in range(4):
        (image_folder / "1" / f"bad{number}.jpg").write_bytes(b"no picture")
    config = make_config(tmp_path / "run", source=str(image_folder), num_candidates=16, max_rejected=0.05)
    with pytest.raises(
        InputError,
        match=r"4 of 40 source images cannot be used \(4 not_an_image; the first: 1/bad\d.jpg\), more than "
        r"--max-rejected 0.05; fix the source or raise --max-rejected, then run again",
    ):
        run_undecorated(config)
    drawn = _written(tmp_path / "run")
    run_undecorated(make_config(tmp_path / "run", source=str(image_folder), num_candidates=16, max_rejected=0.1))
    assert drawn.items() <= _written(tmp_path / "run").items()


def test_images_lost_before_they_were_tiled_are_counted_too(
    make_config: MakeConfig, run_undecorated: RunUndecorated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example in tars that are read in place and change during the run."""
    config = make_config(tmp_path / "run", ipc=1)

    def lose(run: RunFolder, unit: str, row: dict[str, Any], *, verify: bool) -> bytes:
        if row["position"] < 6:
            raise RejectedImage("changed", row["source_uri"])
        return read_candidate(run, unit, row, verify=verify)

    monkeypatch.setattr("tasks.patches.tile.read_candidate", lose)
    with pytest.raises(InputError, match=r"of 30 source images cannot be used \(\d+ changed; .*--max-rejected 0.1"):
        run_undecorated(config)
    assert not (tmp_path / "run" / "dataset").exists()
    run_undecorated(replace(config, max_rejected=0.6))
    assert (tmp_path / "run" / "dataset").exists()


def test_run_resumes_from_another_folder(
    image_folder: Path, finished_run: Path, make_config: MakeConfig, run_undecorated: RunUndecorated, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(image_folder.parent)
    run_undecorated(make_config(Path("run"), source="source"))
    shutil.rmtree(Path("run", "work", "candidates"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run_undecorated(make_config(Path("../run"), source="../source/"))
    assert _sums(tmp_path / "run") == _sums(finished_run)
