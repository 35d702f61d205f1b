"""Partial files of a killed run do not block other runs, and the next run removes them."""

import subprocess
import sys
from pathlib import Path

import pytest

from rded_core.errors import InputError
from rded_core.io.layout.run import RunFolder
from rded_core.io.run.candidates import read_candidate
from rded_core.io.run.records import Record
from rded_core.io.run.run_json import clear_leftovers, require_free
from rded_core.io.storage.atomic import remove_abandoned
from rded_core.io.storage.files import os_errors_as_input_errors
from rded_core.io.storage.swap import end_swap
from tasks.run.results import count_missing
from tasks.run.worklist import Unit, Worklist


def _dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def _write(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_run_killed_before_its_first_complete_file_starts_again(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    _write(tmp_path / "work" / f".run.json.{_dead_process()}.tmp")
    _write(run.lock)
    require_free(run)
    _write(run.table("realism", "a"))  # OUT was deleted during a run
    _write(run.staged_dataset / "images" / "a.tar")
    require_free(run)
    _write(tmp_path / "work" / "letter.txt")
    with pytest.raises(InputError, match="is not empty and holds no rded run"):
        require_free(run)


def test_partial_files_of_dead_processes_are_removed_everywhere(tmp_path: Path) -> None:
    run, dead = RunFolder(tmp_path), _dead_process()
    half = [_write(folder / f".a.json.{dead}.tmp") for folder in (tmp_path, tmp_path / "work", run.stage("realism"))]
    kept = [
        _write(run.stage("realism") / ".a.json.1.tmp"),  # of a running process
        _write(run.stage("realism") / "a.json"),
        _write(run.control("random") / "work" / "realism" / f".a.json.{dead}.tmp"),  # its own run clears it
    ]
    clear_leftovers(run)
    assert not any(path.exists() for path in half)
    assert all(path.exists() for path in kept)


def test_abandoned_files_are_removed_by_name(tmp_path: Path) -> None:
    dead = _dead_process()
    mine, other = _write(tmp_path / f".a.json.{dead}.tmp"), _write(tmp_path / f".ba.json.{dead}.tmp")
    remove_abandoned(tmp_path, r"a\.json")
    assert (mine.exists(), other.exists()) == (False, True)


@pytest.mark.parametrize("there", [("old",), ("new", "old"), ("place", "old"), ("place", "new"), ("new",), ()])
def test_interrupted_swap_keeps_one_dataset(tmp_path: Path, there: tuple[str, ...]) -> None:
    places = {"new": tmp_path / "dataset", "old": tmp_path / "dataset.old", "place": tmp_path / "place"}
    for name in there:
        _write(places[name] / "f", name)
    end_swap(places["new"], places["place"])
    left = {path.relative_to(tmp_path).as_posix(): path.read_text() for path in tmp_path.rglob("f")}
    kept = next((name for name in ("place", "old") if name in there), None)
    assert left == ({"place/f": kept} if kept else {})


def test_failure_names_its_file(tmp_path: Path) -> None:
    expected = rf"cannot read or write {tmp_path}/gone: No such file or directory; .*run the same command again"
    with pytest.raises(InputError, match=expected), os_errors_as_input_errors(tmp_path):
        (tmp_path / "gone").stat()


def test_output_that_vanishes_before_its_record(tmp_path: Path) -> None:
    unit = Unit(RunFolder(tmp_path), "realism", "a", {}, {}, outputs=(tmp_path / "work" / "realism" / "a.parquet",))
    with pytest.raises(InputError, match=r"realism/a\.parquet: No such file or directory"):
        Worklist({0: unit}).finish(0, {})
    assert not unit.path.exists()


@pytest.mark.parametrize(("data", "reason"), [(None, "missing"), (b"other", "changed")])
def test_missing_candidate_tar_does_not_reject_source_images(tmp_path: Path, data: bytes | None, reason: str) -> None:
    """Otherwise its images would be recorded as rejected, and never be used again."""
    run = RunFolder(tmp_path)
    if data is not None:
        _write(run.tar("candidates", "a"), data.decode())
    row = {"key": "k", "path": "", "offset": 0, "num_bytes": 5, "in_tar": True, "source_sha256": "", "source_uri": "u"}
    with pytest.raises(InputError, match=rf"candidates/a\.tar was damaged or removed \({reason}\); "):
        read_candidate(run, "a", row, verify=True)


def test_record_of_missing_images_is_not_trusted() -> None:
    record = Record("realism", "a", {}, {}, {}, {"rejected": [["missing", "u"], ["truncated", "v"]]})
    assert count_missing(record) == "1 image could not be read"
