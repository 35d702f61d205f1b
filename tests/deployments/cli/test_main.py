"""The command line on valid input, and its exit codes."""

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from rded_core.config import DistillConfig, EvaluateConfig, TrainObserverConfig

RunCli = Callable[..., tuple[int, str, str]]
COMMANDS = {"distill": DistillConfig, "evaluate": EvaluateConfig, "train-observer": TrainObserverConfig}


def test_version(run_cli: RunCli) -> None:
    assert run_cli("--version") == (0, f"rded {version('rded')}\n", "")


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_the_commands_and_exit_codes(run_cli: RunCli, flag: str) -> None:
    code, out, err = run_cli(flag)
    assert (code, err) == (0, "")
    assert all(command in out for command in COMMANDS)
    assert "Exit codes" in out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_field(run_cli: RunCli, command: str) -> None:
    code, out, _ = run_cli(command, "--help")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out)
    words = set(re.findall(r"--[a-z][a-z-]*|\b[A-Z]+\b", plain))
    first, *others = [field.name for field in dataclasses.fields(COMMANDS[command])]
    assert code == 0
    assert first.upper() in words
    assert {f"--{name.replace('_', '-')}" for name in others} <= words
    assert max(map(len, plain.splitlines())) <= 80


def test_help_is_shown_without_arguments(run_cli: RunCli) -> None:
    code, out, err = run_cli()
    assert code in (0, 2)
    assert "distill" in out + err
    assert "Traceback" not in err


def test_run_json_as_config_gives_the_same_bytes_elsewhere(run_cli: RunCli, finished_run: Path, tmp_path: Path) -> None:
    code, out, err = run_cli("distill", "-c", finished_run / "run.json", "-o", tmp_path / "again", "--workers", 1)
    assert code == 0, err
    sums = "dataset/SHA256SUMS"
    assert (tmp_path / "again" / sums).read_text() == (finished_run / sums).read_text()
    assert f"dataset     {tmp_path}/again/dataset" in out
    assert "6 in 3 classes, from 36 source images" in out
    assert f"rded evaluate {tmp_path}/again" in out


@pytest.mark.usefixtures("plain_flows")
def test_forced_run_warns_each_time(
    run_cli: RunCli, make_config: Callable[..., DistillConfig], save_untrained: Callable[..., Path], tmp_path: Path
) -> None:
    config = make_config(tmp_path / "run", weights=str(save_untrained()), ipc=1, label_epochs=1)
    (tmp_path / "config.json").write_text(json.dumps(dataclasses.asdict(config)))
    arguments = ("distill", "--config", tmp_path / "config.json", "--force")
    for _ in range(2):
        code, out, err = run_cli(*arguments)
        assert code == 0, err
        warning = r"^warning     the observer is right on .*% of 30 candidates, no better than chance"
        assert re.search(warning, out, flags=re.MULTILINE)
    assert "no better than chance" in (tmp_path / "run" / "dataset" / "report" / "index.html").read_text()


@pytest.mark.usefixtures("plain_flows")
def test_evaluate_prints_a_table(run_cli: RunCli, finished_run: Path, shared_source: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    flags = ("--student", "convnet3", "--epochs", 1, "--seeds", 1, "--controls", "none", "--device", "cpu")
    code, out, err = run_cli("evaluate", run, "--val", shared_source, *flags)
    assert code == 0, err
    assert re.search(r"^distilled( +\d+\.\d %){2}$", out, flags=re.MULTILINE)
    assert "convnet3, protocol paper, ipc 2, 3 classes, 1 epoch, 1 seed" in out


@pytest.mark.usefixtures("plain_flows")
def test_train_observer_prints_its_path(run_cli: RunCli, shared_source: Path, tmp_path: Path) -> None:
    flags = ("--arch", "convnet3", "--size", 32, "--epochs", 1, "--batch-size", 18, "--no-flip", "--device", "cpu")
    code, out, err = run_cli("train-observer", shared_source, *flags, "-o", tmp_path / "x.safetensors")
    assert code == 0, err
    assert (tmp_path / "x.safetensors").is_file()
    assert f"observer    {tmp_path}/x.safetensors" in out
    assert "36 images of 3 classes" in out


ARGUMENTS = ("distill", "torchvision:CIFAR10", "--observer", "torchvision:resnet18", "--ipc", "1", "--out", "o")


def test_interruption_says_how_to_resume(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: DistillConfig, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tasks.run.prepare.check_ahead", lambda *_: None)
    monkeypatch.setattr("flows.distill.distill", interrupt)
    code, _, err = run_cli(*ARGUMENTS)
    assert code == 130
    assert err.splitlines()[-1] == "rded: error: interrupted; rerun the same command to resume"


def test_unexpected_error_keeps_its_traceback(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: DistillConfig, **__: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("tasks.run.prepare.check_ahead", lambda *_: None)
    monkeypatch.setattr("flows.distill.distill", fail)
    with pytest.raises(RuntimeError, match="a defect"):
        run_cli(*ARGUMENTS)


def test_flags_override_the_config_file(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, finished_run: Path, tmp_path: Path
) -> None:
    seen: list[DistillConfig] = []

    def record(config: DistillConfig, **__: object) -> None:
        seen.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr("flows.distill.distill", record)
    run_cli("distill", "-c", finished_run / "run.json", "-o", tmp_path, "--seed", 9, "--classes", "1, 2", "--no-flip")
    assert (seen[0].seed, seen[0].classes, seen[0].flip, seen[0].out) == (9, ("1", "2"), False, str(tmp_path))
    assert (seen[0].ipc, seen[0].label_epochs, seen[0].image_format) == (2, 12, "png")
