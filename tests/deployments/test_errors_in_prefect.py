"""A user's mistake inside a Prefect run is one line, although Prefect would log a traceback for each level."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rded_core.config import DistillConfig

RunCli = Callable[..., tuple[int, str, str]]
pytestmark = pytest.mark.usefixtures("prefect_harness")


def _check(result: tuple[int, str, str], message: str) -> None:
    code, _, err = result
    assert code == 2, err
    assert [line for line in err.splitlines() if line.startswith("rded: error: ")] == err.splitlines()[-1:]
    assert message in err.splitlines()[-1]
    assert err.count(message) == 1, err
    assert "Traceback" not in err
    assert "InputError" not in err


def test_mistake_found_by_the_first_task(run_cli: RunCli, tmp_path: Path) -> None:
    flags = ("--observer", "rded:convnet3", "--ipc", 1, "--out", tmp_path / "run")
    _check(run_cli("distill", tmp_path / "nowhere", *flags), "no such folder: ")


def test_mistake_found_in_the_middle(
    run_cli: RunCli, shared_source: Path, save_untrained: Callable[..., Path], tmp_path: Path
) -> None:
    flags = ("--weights", save_untrained(), "--ipc", 1, "--size", 32, "--num-candidates", 10, "--device", "cpu")
    result = run_cli("distill", shared_source, "--observer", "rded:convnet3", *flags, "--out", tmp_path / "run")
    _check(result, "no better than chance")
    assert "36 images, 3 classes" in result[2], "stderr contains Prefect's log"
    assert not (tmp_path / "run" / "dataset").exists()


def test_mistake_found_in_a_subflow(
    run_cli: RunCli, image_folder: Path, shared_source: Path, tmp_path: Path, make_config: Callable[..., DistillConfig],
    run_undecorated: Callable[[DistillConfig], Path],
) -> None:  # fmt: skip
    """The control's flow, inside evaluate's, finds that the source is missing."""
    run_undecorated(make_config(tmp_path / "run", source=str(image_folder)))
    shutil.rmtree(image_folder)
    result = run_cli("evaluate", tmp_path / "run", "--val", shared_source, "--student", "convnet3", "--seeds", 1)
    _check(result, f"no such folder: {image_folder}")
