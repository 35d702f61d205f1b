"""``rded verify`` and ``rded repair`` from a user's view: one line per fault, exit codes, no user's file deleted."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rded_core.config import DistillConfig
from rded_core.errors import InputError
from rded_core.io.layout.run import RunFolder
from rded_core.io.networks import observers
from rded_core.io.run.forgotten import begin_forgetting
from tasks.run import networks
from tasks.verify.files import check_files

RunCli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(short_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(short_run, tmp_path / "run"))


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _first(run: Path, pattern: str) -> Path:
    return min(run.glob(pattern))


def test_sound_run_is_one_line(run: Path, run_cli: RunCli) -> None:
    code, out, _ = run_cli("verify", run)
    assert code == 0
    assert re.fullmatch(rf"{run}: \d+ files, [\d.]+ kB intact, sound \([\d.]+ s\)\n", out)


def test_verify_starts_without_torch_and_prefect(short_run: Path) -> None:
    code = (
        "import sys; from rded_core.io.verify.run import find_checked;"
        "from tasks.verify.files import check_files;"
        f"import deployments.cli.main; assert not check_files(find_checked({str(short_run)!r})).faults;"
        "assert not {'torch', 'prefect'} & set(sys.modules), 'slow to start'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


@pytest.mark.usefixtures("plain_flows")
def test_repair_restores_files_in_place_and_keeps_the_users(run: Path, run_cli: RunCli) -> None:
    score = _first(run, "work/realism/*.parquet")
    _flip(score)
    (run / "work" / "run.json").unlink()
    for name in ("notes.txt", "dataset/notes.txt", "work/realism/notes.txt"):
        (run / name).write_text("mine")
    (run / "work" / "dataset").mkdir()
    elsewhere = run / "work" / "realism" / ".y.parquet.elsewhere-1.tmp"
    elsewhere.write_text("half, so far")
    for name in ("work/dataset/classes.json", "work/realism/.x.parquet.1.tmp", "dataset/.recipe.json.1.tmp"):
        (run / name).write_text("half")
    (run / "dataset" / "recipe.json").unlink()
    code, out, _ = run_cli("verify", run)
    assert code == 1
    kinds = {line.split()[1].removesuffix(":"): line.split()[0] for line in out.splitlines()[:-1]}
    assert {kinds.pop(name) for name in list(kinds) if "notes" in name or "elsewhere" in name} == {"note"}
    assert kinds[f"work/realism/{score.name}"] == "damaged"
    assert kinds["dataset/recipe.json"] == kinds["work/run.json"] == "missing"
    assert {kinds[name] for name in kinds if "tmp" in name or "work/dataset" in name} == {"unexpected"}
    code, out, _ = run_cli("repair", run)
    assert code == 0, "files that are not rded's stay, are noted, and do not count as faults"
    assert "note          dataset/notes.txt: not written by rded, not in SHA256SUMS; left as it is\n" in out
    assert "note          notes.txt: not written by rded; left as it is\n" in out
    assert "elsewhere-1.tmp: another machine is writing it, or did within the last hour\n" in out
    assert elsewhere.exists()
    assert f"made again work/realism/{score.name}" in out
    assert "restored work/run.json from run.json" in out
    assert "removed work/dataset/classes.json" in out
    assert not [line for line in out.splitlines() if line.startswith(("unexpected", "damaged", "missing"))]
    for name in ("notes.txt", "dataset/notes.txt", "work/realism/notes.txt"):
        assert (run / name).read_text() == "mine"
    code, out, _ = run_cli("verify", run)
    assert (code, out.count("not written by rded")) == (0, 3)


YOURS = (
    *("work/students/summary.json", "work/students/distilled.result.json", "work/observe/notes.json"),
    *("work/observe/observer.parquet", "work/soft_labels/backup.parquet", "work/soft_labels/images-mine.json"),
    *("work/soft_labels/epochs-best.parquet", "work/publish/talk.json", "work/candidates/backup.tar"),
    *("evaluations/best.json", "work/evaluations/best.json", "evaluations/convnet3.json"),
)
"""Files with names that rded never writes, in its folders and with the endings of its files."""


@pytest.mark.usefixtures("plain_flows")
def test_users_files_in_rdeds_folders_are_noted_and_kept(run: Path, run_cli: RunCli) -> None:
    for name in YOURS:
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text("mine")
    _flip(run / "work" / "observe" / "observer.json")
    code, out, _ = run_cli("verify", run)
    assert (code, out.count("not written by rded")) == (1, len(YOURS)), out
    code, out, _ = run_cli("repair", run)
    assert (code, out.count("not written by rded")) == (0, len(YOURS)), out
    assert [name for name in YOURS if not (run / name).is_file()] == []


@pytest.mark.usefixtures("plain_flows")
def test_damaged_forgetting_json_cannot_be_repaired(
    run: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_forgetting(RunFolder(run), {"0" * 64: []}, [])
    _flip(run / "work" / "forgetting.json")
    monkeypatch.setattr("flows.repair.distill", None)
    remedy = f"delete the file, then name them again: rded forget {run} --source IMAGE"
    for command in ("verify", "repair"):
        code, out, _ = run_cli(command, run)
        assert code == 1, out
        assert "damaged       work/forgetting.json: its bytes are not as written; no other file lists" in out
        assert remedy in out
    assert re.search(rf"cannot mend work/forgetting\.json: .*{remedy}", out)
    assert (run / "work" / "forgetting.json").is_file()


@pytest.mark.usefixtures("plain_flows")
def test_repair_does_not_touch_a_sound_run(run: Path, run_cli: RunCli) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    code, out, _ = run_cli("repair", run)
    assert (code, out.count("\n")) == (0, 1)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path != run} == {
        path: stamp for path, stamp in before.items() if path != run
    }


@pytest.mark.usefixtures("plain_flows")
def test_repair_refuses_a_changed_source(
    make_config: Callable[..., DistillConfig], image_folder: Path, run_cli: RunCli, tmp_path: Path,
    run_undecorated: Callable[[DistillConfig], Path],
) -> None:  # fmt: skip
    run = tmp_path / "run"
    run_undecorated(make_config(run, source=str(image_folder), label_epochs=2))
    _flip(_first(run, "work/squeeze/*.tar"))
    shutil.copy(image_folder / "1" / "000.jpg", image_folder / "1" / "new.jpg")
    code, _, err = run_cli("repair", run)
    assert code == 2
    assert "source images changed since" in err
    assert "rded distill --config" in err


def test_dataset_without_its_run_cannot_be_repaired(run: Path, run_cli: RunCli, tmp_path: Path) -> None:
    published = Path(shutil.copytree(run / "dataset", tmp_path / "published"))
    assert run_cli("verify", published)[0] == 0
    _flip(published / "images" / "train-000000.tar")
    for command in ("verify", "repair"):
        code, out, _ = run_cli(command, published)
        assert code == 1
        assert "damaged       images/train-000000.tar: does not match its digest in SHA256SUMS; download it" in out


@pytest.mark.parametrize("command", ["verify", "repair"])
def test_folder_without_a_run(command: str, run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for path, message in (("nowhere", "no such folder"), ("file", "no such folder"), ("folder", "neither a run nor")):
        code, out, err = run_cli(command, tmp_path / path)
        assert (code, out) == (2, "")
        assert message in err


def test_lock_left_by_a_crash_is_noted(run: Path, run_cli: RunCli) -> None:
    (run / ".lock").write_text("process 1 on elsewhere since noon (rded distill)\n")
    code, out, _ = run_cli("verify", run)
    assert code == 0
    assert re.search(r"note +\.lock: process 1 on elsewhere .* crashed; no process writes here now\n", out)


@pytest.mark.parametrize("folder", ["", "dataset"])
def test_verify_during_a_distillation_names_the_writer(run: Path, run_cli: RunCli, folder: str) -> None:
    (run / ".lock").write_text("process 1 on elsewhere since noon (rded distill)\n")
    held = (
        f"import fcntl, sys; s = open({str(run / '.lock')!r}, 'r+'); fcntl.flock(s, fcntl.LOCK_EX); print(flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", f"{held}; sys.stdin.read()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        code, out, err = run_cli("verify", run / folder)
        holder.communicate()
    assert (code, out) == (2, "")
    assert "is being written by process 1 on elsewhere since noon (rded distill); wait until it is done" in err
    assert len(err.splitlines()) == 1
    assert run_cli("verify", run / folder)[0] == 0


def test_file_that_vanishes_during_the_check_is_attributed_to_the_writer(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer starts after the first look at the lock."""
    writers = iter(["", "process 1"])
    monkeypatch.setattr("tasks.verify.files.find_writer", lambda _: next(writers))
    monkeypatch.setattr("tasks.verify.files.run_checks", lambda _: [lambda _: (run / "gone").read_text()])
    with pytest.raises(InputError, match="is being written by process 1; wait until it is done"):
        check_files(RunFolder(run))


def test_unfinished_run_is_not_a_fault(run: Path, run_cli: RunCli) -> None:
    shutil.rmtree(run / "dataset")
    shutil.rmtree(run / "work" / "publish")
    code, out, _ = run_cli("verify", run)
    assert code == 0
    assert "is not finished; run rded distill --config" in out


def test_run_without_run_json_is_recognised(run: Path, run_cli: RunCli) -> None:
    for path in (run / "run.json", run / "work" / "run.json"):
        path.unlink()
    code, _, err = run_cli("verify", run)
    assert code == 2
    assert "has lost run.json and its copy" in err


def test_missing_record_of_the_observer_check_is_a_fault(run: Path, run_cli: RunCli) -> None:
    (run / "work" / "observe" / "observer.json").unlink()
    code, out, _ = run_cli("verify", run)
    assert code == 1
    assert "missing       work/observe/observer.json: a finished run needs it" in out


def test_deep_check_lists_skipped_checks(
    run: Path, run_cli: RunCli, trained_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = run_cli("verify", run, "--deep")
    assert code == 0, out
    for name in ("source images", "scores", "selections", "pixels", "labels"):
        assert re.search(rf"note +{name} of {run}: a sample of \d files was computed again and compared", out)
    # The weights belong to all test processes, so they are not moved away: their reader looks in another folder.
    read_weights = observers.read_weights
    monkeypatch.setattr(observers, "read_weights", lambda path: read_weights(str(tmp_path / Path(path).name)))
    networks._load.cache_clear()
    code, out, _ = run_cli("verify", run, "--deep")
    assert code == 0
    assert re.search(rf"not checked +scores of {run}: .*{trained_weights.name}", out)
    assert "2 checks could not be made" in out


@pytest.mark.parametrize("folder", ["", "dataset"])
@pytest.mark.parametrize("written", ["work/publish/dataset.json", "work/realism/new.parquet", "run.json"])
def test_write_during_the_check_is_detected(
    run: Path, monkeypatch: pytest.MonkeyPatch, run_cli: RunCli, folder: str, written: str
) -> None:
    """The writer starts and ends between the two looks at the lock, so the result would be inconsistent."""

    def write(_: object) -> None:
        path = run / written
        path.with_name("temporary").write_text("new")
        path.with_name("temporary").rename(path)

    for name in ("run_checks", "dataset_checks"):
        monkeypatch.setattr(f"tasks.verify.files.{name}", lambda _: [write])
    code, out, err = run_cli("verify", run / folder)
    assert (code, out) == (2, "")
    assert re.search(rf"{run} changed during verification of .*; run rded verify again", err.splitlines()[-1])
