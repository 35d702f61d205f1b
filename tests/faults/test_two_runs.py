"""Two runs on one folder: one writes, the other names the writer, and can start as soon as that one has ended."""

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.harness import Child, Command, Outcome, check_finished

MakeCommand = Callable[..., Command]

REFUSED = r"rded: error: --out \S+ is being written by process (\d+) on .* since .* \(rded distill .*\); wait until"


def _start_together(commands: list[Command], go: Path) -> list[Child]:
    children = [command.start(wait_for=str(go)) for command in commands]
    time.sleep(1)
    go.touch()
    return children


@pytest.mark.slow
def test_two_runs_started_at_once(make_command: MakeCommand, expected: Outcome, tmp_path: Path) -> None:
    command = make_command(tmp_path / "run")
    children = _start_together([command] * 3, tmp_path / "go")
    codes = [child.wait() for child in children]
    assert sorted(codes) == [0, 2, 2], [child.text for child in children]
    holder = children[codes.index(0)]
    for child, code in zip(children, codes, strict=True):
        if code == 2:
            named = re.search(REFUSED, child.text)
            assert named, child.text
            assert int(named[1]) == holder.pid
    check_finished(command.out, expected)


@pytest.mark.slow
def test_killed_holder_gives_way_at_once(make_command: MakeCommand, expected: Outcome, tmp_path: Path) -> None:
    command = make_command(tmp_path / "run")
    holder = command.start()
    while not (command.out / "work" / "candidates").exists():
        assert holder.poll() is None, holder.text
        time.sleep(0.01)
    os.killpg(holder.pid, signal.SIGSTOP)  # otherwise it may finish before the other starts
    refused = command.start()
    assert refused.wait() == 2
    assert re.search(REFUSED, refused.text)
    holder.kill()
    assert (command.out / ".lock").exists(), "the lock file of a dead holder stays, but does not block"
    command.finish()
    check_finished(command.out, expected)


@pytest.mark.slow
def test_two_evaluations_make_one_control(
    make_command: MakeCommand, undisturbed: tuple[Path, list[str]], fault_source: Path, tmp_path: Path
) -> None:
    """One makes the control, the other waits for it and uses it."""
    command = make_command(tmp_path / "run")
    command.finish()
    flags = ["--student", "convnet3", "--epochs", "1", "--seeds", "1", "--controls", "random", "--device", "cpu"]
    command.arguments = ["evaluate", str(command.out), "--val", str(fault_source), *flags]
    children = _start_together([command] * 2, tmp_path / "go")
    assert [child.wait() for child in children] == [0, 0], [child.text for child in children]
    tables = [re.findall(r"\S+ %", child.text) for child in children]
    assert tables[0] == tables[1]
    control = command.out / "work" / "controls" / "random"
    assert (control / "dataset" / "SHA256SUMS").exists()
    assert not [path for path in command.out.rglob("*") if path.name.endswith((".tmp", ".lock"))]
    assert (undisturbed[0] / "dataset").exists()
