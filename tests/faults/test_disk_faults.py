"""Full disks, lost permissions and vanished folders give one clear line, and the next run resumes."""

import contextlib
import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.harness import Child, Command, Outcome, Remains, check_finished, entries, stage_of, watch
from tests.faults.kills import ranks_of

MakeCommand = Callable[..., Command]
Undisturbed = tuple[Path, list[str]]

MEGABYTE = 1 << 20
STAGES = ("index", "candidates", "realism", "selection", "squeeze", "soft_labels", "publish: assemble")


def error_line(child: Child, code: int, pattern: str) -> str:
    """Returns the error line that a user sees; checks that there is exactly one, and no traceback."""
    errors = [line for line in child.text.splitlines() if line.startswith("rded: error: ")]
    assert (code, len(errors)) == (2, 1), child.text
    assert "Traceback" not in child.text
    assert errors[0] == child.text.splitlines()[-1]
    assert re.search(pattern, errors[0]), errors[0]
    return errors[0]


def check_nothing_half(out: Path) -> None:
    assert not [path for path in entries(out) if path.endswith((".tmp", ".lock"))]
    assert not (out / "dataset").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system that a test may fill."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "rded-test", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a small file system; test_largest_file_is_limited runs instead")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.slow
def test_disk_fills_up_again_and_again(make_command: MakeCommand, expected: Outcome, small_disk: Path) -> None:
    """The disk grows step by step, so that runs fail in one stage after another; finished work is kept."""
    command = make_command(small_disk / "run")
    full: set[str] = set()
    remains: list[Remains] = []
    for size in range(96, 4096, 160):
        subprocess.run(["mount", "-o", f"remount,size={size}k", str(small_disk)], check=True)
        child = command.start()
        if (code := child.wait()) == 0:
            break
        line = error_line(
            child, code, r"(write|lock) \S+: No space left on device; check the folder and its free space"
        )
        full.add(stage_of(line.split(f"{command.out}/")[1].split(": ")[0]))
        check_nothing_half(command.out)
        remains.append(Remains.of(command.out))
    assert {"candidates", "soft_labels", "publish: assemble"} <= full, full
    check_finished(command.out, expected)
    final = Remains.of(command.out)
    assert sum(left.check_kept(final, unchanged=True) for left in remains) > 100


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() == 0, reason="root uses a small disk instead, above")
def test_largest_file_is_limited(make_command: MakeCommand, expected: Outcome, tmp_path: Path) -> None:
    """A growing limit on the size of files, which every system supports."""
    command = make_command(tmp_path / "run")
    full: set[str] = set()
    for limit in (4000, 8000, 24_000, 48_000, 96_000, MEGABYTE):
        child = command.start(max_file_bytes=limit)
        if (code := child.wait()) == 0:
            break
        line = error_line(child, code, r"cannot write \S+: File too large; .*then run the same command again")
        full.add(stage_of(line.split(f"{command.out}/")[1].split(": ")[0]))
        check_nothing_half(command.out)
    assert {"candidates", "publish: assemble"} <= full, full
    check_finished(command.out, expected)


@pytest.mark.slow
def test_failed_write_is_one_line_with_prefect_too(
    make_command: MakeCommand, expected: Outcome, prefect_environment: dict[str, str], tmp_path: Path
) -> None:
    child = make_command(tmp_path / "run", environment=prefect_environment).start(max_file_bytes=24_000)
    error_line(child, child.wait(), r"cannot write \S+: File too large; .*then run the same command again")
    check_nothing_half(tmp_path / "run")
    make_command(tmp_path / "run").finish()
    check_finished(tmp_path / "run", expected)


def disturb(command: Command, undisturbed: Undisturbed, stage: str, share: float, fault: Callable[[], object]) -> Child:
    """Starts a command, and calls `fault` once a share of a stage is done; permissions apply even to root."""
    ranks = {path: rank for path, rank in ranks_of(undisturbed[1]).items() if stage_of(path) == stage}
    wanted = sorted(ranks.values())[int(share * len(ranks))]
    child = command.start(obeys_permissions=True)
    for path in watch(child, command.out):
        if ranks.get(path, -1) >= wanted:
            fault()
            break
    return child


def _check_next(command: Command, expected: Outcome) -> None:
    command.finish()
    check_finished(command.out, expected)


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "mode"), [("realism", 0o500), ("candidates", 0o000)])
def test_permission_lost_during_a_run(
    make_command: MakeCommand, undisturbed: Undisturbed, expected: Outcome, tmp_path: Path, stage: str, mode: int
) -> None:
    command = make_command(tmp_path / "run")
    folder = command.out / "work" / stage
    child = disturb(command, undisturbed, stage, 0.3, lambda: folder.chmod(mode))
    code = child.wait()
    folder.chmod(0o755)
    error_line(child, code, rf"work/{stage}/\S+: Permission denied; check the folder")
    assert not (command.out / "dataset").exists()
    assert not (command.out / ".lock").exists(), "a partial file cannot be removed from such a folder, but the lock can"
    _check_next(command, expected)


@pytest.mark.parametrize("mode", [0o500, 0o000])
@pytest.mark.parametrize("what", ["run", "new"])
def test_out_without_permission(make_command: MakeCommand, tmp_path: Path, mode: int, what: str) -> None:
    (tmp_path / "place" / "run").mkdir(parents=True)
    command = make_command(tmp_path / "place" / what)
    locked = command.out if command.out.exists() else command.out.parent
    locked.chmod(mode)
    child = command.start(obeys_permissions=True)
    code = child.wait()
    locked.chmod(0o755)
    error_line(child, code, r"no permission in \S+; choose a folder|Permission denied; check the ")
    assert not list(entries(tmp_path / "place"))


def _take_away(target: Path, away: Path, rng: random.Random) -> None:
    """Removes a folder, either at once or file by file, while a run still writes to it."""
    if rng.random() < 0.5:
        with contextlib.suppress(FileNotFoundError):  # already gone
            target.rename(away)
    else:
        shutil.rmtree(target, ignore_errors=True)


def _vanish(
    make: MakeCommand, undisturbed: Undisturbed, expected: Outcome, tmp_path: Path, rng: random.Random,
    *, target: str, stage: str,
) -> int:  # fmt: skip
    """Removes a folder in the middle of a stage; returns the run's exit code."""
    command = make(tmp_path / f"run-{rng.random()}")
    place = command.out / target
    child = disturb(
        command, undisturbed, stage, rng.random(), lambda: _take_away(place, tmp_path / f"away-{rng.random()}", rng)
    )
    code = child.wait()
    if code != 0:
        error_line(child, code, rf"{command.out}\S*(: | is missing since| is damaged)|holds no images")
        if command.out.exists():
            check_nothing_half(command.out)
    _check_next(command, expected)
    shutil.rmtree(command.out)
    return code


@pytest.mark.slow
@pytest.mark.parametrize(("target", "stage"), [("work/candidates", "realism"), ("work", "squeeze")])
def test_folder_vanishes(
    make_command: MakeCommand, undisturbed: Undisturbed, expected: Outcome, tmp_path: Path, target: str, stage: str
) -> None:
    _vanish(make_command, undisturbed, expected, tmp_path, random.Random(0), target=target, stage=stage)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_any_folder_vanishes_at_any_time(
    make_command: MakeCommand, undisturbed: Undisturbed, expected: Outcome, tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    rng, ended = random.Random(20260102), {0: 0, 2: 0}
    folders = ("work", *(f"work/{stage}" for stage in STAGES[:-1]), "work/dataset")
    for number, stage in enumerate(STAGES):
        there = folders[: number + 2]
        for target in (".", *rng.sample(there, 2)):
            code = _vanish(make_command, undisturbed, expected, tmp_path, rng, target=target, stage=stage)
            ended[code] += 1
            request.config.get_terminal_writer().line(f"{target} removed during {stage}: exit code {code}")
    request.config.get_terminal_writer().line(f"runs that continued: {ended[0]}, that ended with an error: {ended[2]}")


@pytest.mark.slow
def test_source_vanishes(
    make_command: MakeCommand, undisturbed: Undisturbed, expected: Outcome, fault_source: Path, tmp_path: Path
) -> None:
    source = Path(shutil.copytree(fault_source, tmp_path / "source"))
    command = make_command(tmp_path / "run", source=source)
    child = disturb(command, undisturbed, "candidates", 0.3, lambda: source.rename(tmp_path / "away"))
    error_line(child, child.wait(), r"can no longer be read .*check that \S+ exists and is complete, then run again")
    check_nothing_half(command.out)
    child = command.start()
    error_line(child, child.wait(), f"no such folder: {source}; pass a folder of class folders")
    (tmp_path / "away").rename(source)
    _check_next(command, expected)
