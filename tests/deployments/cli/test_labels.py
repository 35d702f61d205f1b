"""``rded labels`` from a user's view: its output, one line per mistake, exit codes, no change to the user's files."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rded_core.config import DistillConfig
from rded_core.io.layout.dataset import DatasetFolder
from tasks.verify.files import check_files

RunCli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def finished(
    make_config: Callable[..., DistillConfig],
    run_undecorated: Callable[[DistillConfig], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    run = tmp_path_factory.mktemp("labels") / "run"
    run_undecorated(make_config(run, label_epochs=4))
    return run


def test_labels_are_reencoded(finished: Path, tmp_path: Path, run_cli: RunCli) -> None:
    code, out, err = run_cli("labels", finished, "--codec", "int8", "--epochs", 3, "--out", tmp_path / "new")
    assert (code, err) == (0, "")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert list(lines) == ["dataset", "before", "labels", "rounding", "reuse", "next"]
    assert "4 epochs, float16, " in lines["before"]
    assert "3 of 4 epochs, int8, " in lines["labels"]
    assert f"rded evaluate {tmp_path / 'new'} --val VALIDATION_IMAGES --student NAME --controls none" in lines["next"]
    assert run_cli("verify", tmp_path / "new")[0] == 0
    assert run_cli("verify", finished)[0] == 0


def test_finer_codec_does_not_restore_lost_precision(finished: Path, tmp_path: Path, run_cli: RunCli) -> None:
    run_cli("labels", finished, "--codec", "int4", "--out", tmp_path / "small")
    code, out, _ = run_cli("labels", tmp_path / "small", "--codec", "float16", "--out", tmp_path / "plain")
    assert code == 0
    assert "note        float16 labels made from int4 labels do not regain the precision" in out


def test_budget_prints_a_table_of_choices(finished: Path, tmp_path: Path, run_cli: RunCli) -> None:
    code, out, _ = run_cli("labels", finished, "--budget", "12kB", "--out", tmp_path / "new")
    assert code == 0
    assert out.count("<- chosen") == 1
    assert "loss in % of the former:" in out
    assert sum(path.stat().st_size for path in DatasetFolder(tmp_path / "new").label_files()) <= 12_000


@pytest.mark.usefixtures("plain_flows")
def test_students_train_on_reencoded_labels(
    finished: Path, shared_source: Path, tmp_path: Path, run_cli: RunCli
) -> None:
    run_cli("labels", finished, "--codec", "topk:2", "--epochs", 2, "--out", tmp_path / "new")
    flags = ("--student", "convnet3", "--controls", "none", "--seeds", 1, "--device", "cpu", "--workers", 1)
    code, out, _ = run_cli("evaluate", tmp_path / "new", "--val", shared_source, *flags)
    assert code == 0
    assert "4 epochs, 1 seed\n" in out, "trained for as long as the recipe says, from two stored epochs"


def test_labels_are_described_and_drawn(finished: Path, tmp_path: Path, run_cli: RunCli) -> None:
    code, out, err = run_cli("labels", finished, "--describe", "--picture", tmp_path / "labels.png")
    assert (code, err) == (0, "")
    for text in ("4 epochs, float16", "each once in the 4 epochs", "Parquet's own", "agreement", "unmixed views"):
        assert text in out
    with Image.open(tmp_path / "labels.png") as picture:
        assert min(picture.size) > 300
    code = run_cli("labels", finished, "--describe", "--picture", tmp_path / "labels.png")[0]
    assert code == 0, "rded replaces its own picture"
    assert check_files(DatasetFolder(finished / "dataset")).faults == []


def test_classes_that_the_teacher_never_recognises_are_noted(
    make_config: Callable[..., DistillConfig], run_undecorated: Callable[[DistillConfig], Path], save_untrained: Any,
    tmp_path: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """As with a different class order; an untrained teacher assigns everything to one class."""
    dataset = run_undecorated(make_config(tmp_path / "run", label_epochs=2, mix="none", teacher="rded:convnet3",
                                          teacher_weights=str(save_untrained()), force=True))  # fmt: skip
    code, out, _ = run_cli("labels", dataset, "--describe")
    assert code == 0
    assert "class order" not in out, "too few views for a note"
    monkeypatch.setattr("deployments.cli.label_reports.ENOUGH_VIEWS", 4)
    out = run_cli("labels", dataset, "--describe")[1]
    assert " and 1 other class; check its class order" in out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "give --codec, --epochs, --budget or --describe"),
        (["--codec", "int8"], "give --out NEW"),
        (["--codec", "int7", "--out", "NEW"], "unknown label codec 'int7'; choose from float16, int8"),
        (["--codec", "features", "--out", "NEW"], "distil again with --label-codec features"),
        (["--codec", "float16", "--out", "NEW"], "give another --codec, or fewer --epochs"),
        (["--epochs", "5", "--out", "NEW"], "--epochs must be between 1 and 4, got 5"),
        (["--budget", "lots", "--out", "NEW"], "'lots' is not a size"),
        (["--budget", "10B", "--out", "NEW"], "a label budget of 10 bytes is too small"),
        (["--budget", "1MB", "--epochs", "2", "--out", "NEW"], "drop --epochs"),
        (["--codec", "int8", "--out", "RUN/dataset"], "exists already"),
        (["--codec", "int8", "--out", "RUN/other"], "lies inside"),
        (["--describe", "--codec", "int8"], "--describe changes nothing"),
        (["--describe", "--picture", "labels.gif"], "must end in"),
        (["--describe", "--picture", "RUN/labels.png"], "which may hold no other files"),
        (["--codec", "int8", "--picture", "labels.png", "--out", "NEW"], "--picture needs --describe"),
    ],
)
def test_mistakes_are_one_line(finished: Path, tmp_path: Path, run_cli: RunCli, flags: list[str], message: str) -> None:
    places = {"NEW": str(tmp_path / "new"), "RUN/dataset": f"{finished}/dataset", "RUN/other": f"{finished}/other"}
    places["RUN/labels.png"] = f"{finished}/labels.png"
    code, out, err = run_cli("labels", finished, *(places.get(flag, flag) for flag in flags))
    assert (code, out) == (2, "")
    assert err.startswith("rded: error: ")
    assert err.count("\n") == 1
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_missing_and_damaged_datasets_give_one_line(finished: Path, tmp_path: Path, run_cli: RunCli) -> None:
    assert "no distilled dataset at" in run_cli("labels", tmp_path, "--describe")[2]
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    table = min((run / "dataset" / "soft_labels").iterdir())
    table.write_bytes(table.read_bytes()[:-1])
    code, _, err = run_cli("labels", run, "--describe")
    assert code == 2
    assert err.count("\n") == 1
    assert f"{table} is damaged: does not match its digest in SHA256SUMS" in err


def test_prefect_is_not_started() -> None:
    code = (
        "import sys; import deployments.cli.main, deployments.cli.label_reports, rded_core.io.labels.reencode;"
        "assert 'prefect' not in sys.modules, 'slow to start'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
