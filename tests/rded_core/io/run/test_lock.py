"""One writer at a time in a run folder, even after a crash."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rded_core.errors import InputError
from rded_core.io.layout.run import RunFolder
from rded_core.io.run import lock as locks
from rded_core.io.run.lock import find_writer, only_writer

HOLD = """
import sys, time
from pathlib import Path
from rded_core.io.layout.run import RunFolder
from rded_core.io.run.lock import only_writer

with only_writer(RunFolder(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(600)
"""


def _hold(out: Path) -> "subprocess.Popen[str]":
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_no_lock_file_is_left_after_writing(tmp_path: Path) -> None:
    for _ in range(2):
        with only_writer(RunFolder(tmp_path)):
            assert (tmp_path / ".lock").is_file()
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_refused_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="refused"), only_writer(RunFolder(tmp_path / "runs" / "out")):
        raise InputError("refused")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_there_or_is_used_stays(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "used"):
        with only_writer(RunFolder(tmp_path / name)):
            if name == "used":
                (tmp_path / name / "run.json").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "used"]


def test_a_second_writer_is_refused_and_the_first_is_named(tmp_path: Path) -> None:
    with _hold(tmp_path) as holder:
        with (
            pytest.raises(InputError, match=rf"is being written by process {holder.pid} on \S+ since .*; wait until"),
            only_writer(RunFolder(tmp_path)),
        ):
            pytest.fail("two writers")
        holder.kill()
    assert (tmp_path / ".lock").is_file(), "a crash leaves the file"
    with only_writer(RunFolder(tmp_path)):
        assert f"process {holder.pid}" not in (tmp_path / ".lock").read_text()


def test_the_writer_is_named_without_taking_the_lock(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert find_writer(run) == ""
    assert not run.lock.exists()
    with _hold(tmp_path) as holder:
        assert find_writer(run).startswith(f"process {holder.pid} on ")
        with pytest.raises(InputError, match=f"written by process {holder.pid}"), only_writer(run):
            pytest.fail("two writers")
        holder.kill()
    assert find_writer(run) == "", "a file left by a dead process has no writer"
    with only_writer(run):
        assert find_writer(run) == "", "no other writer"


def test_a_control_waits_for_its_owners_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "POLL_S", 0.01)
    owner = RunFolder(tmp_path)
    (tmp_path / "run.json").touch()
    order: list[str] = []

    def make_control() -> None:
        with only_writer(RunFolder(owner.control("random")), wait=True):
            order.append("control")

    with only_writer(owner):
        other = threading.Thread(target=make_control)
        other.start()
        time.sleep(0.1)
        order.append("owner")
    other.join(timeout=10)
    assert order == ["owner", "control"]
    assert not (tmp_path / "work" / "controls" / "random" / ".lock").exists()


def test_many_writers_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each writer removes the file and the next one creates it again: none may lock a removed file."""
    monkeypatch.setattr(locks, "POLL_S", 0.001)
    inside: list[int] = []
    most: list[int] = []

    def write() -> None:
        for _ in range(20):
            with only_writer(RunFolder(tmp_path), wait=True):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=write) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 120
    assert max(most) == 1


def test_an_out_that_cannot_be_written_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"), only_writer(RunFolder(tmp_path / "file" / "out")):
        pytest.fail("locked a folder that cannot exist")
