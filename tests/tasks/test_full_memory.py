"""Work that does not fit even in its smallest pass is a one-line error: the check, a student, an observer."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import tasks.patches.check
import tasks.training.evaluate
import tasks.training.train_observer
import tasks.training.train_student
from rded_core.config import DistillConfig, EvaluateConfig, TrainObserverConfig
from rded_core.errors import InputError
from rded_core.io.dataset.distilled import DistilledDataset
from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.layout.run import RunFolder

TOLD = r"does not fit the device's memory \(2.00 GiB more requested\); free memory on the device, or give .*cpu"


def _full(*_: object, **__: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of")


def test_checking_the_observer(
    make_config: Callable[..., DistillConfig],
    run_undecorated: Callable[[DistillConfig], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks.patches.check, "classify", _full)
    with pytest.raises(InputError, match=f"checking a network on a few images at a time {TOLD}"):
        run_undecorated(make_config(tmp_path / "run"))


def test_training_a_student(
    finished_run: Path, shared_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.training.train_student, "train_epoch", _full)
    folder = DatasetFolder(finished_run / "dataset")
    assert len(DistilledDataset(folder))
    config = EvaluateConfig(
        dataset=str(finished_run), val=str(shared_source), student="convnet3", device="cpu", controls=()
    )
    plan = tasks.training.evaluate.prepare_evaluation.fn(config)
    plan.run = RunFolder(tmp_path)
    with pytest.raises(InputError, match=f"training a student with the protocol's batch size {TOLD}"):
        tasks.training.train_student.train_student.fn(config, plan, plan.distilled, 0)
    assert not list(tmp_path.rglob("*.json")), "nothing is recorded"


def test_training_an_observer(shared_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.training.train_observer, "train_epoch", _full)
    out = str(tmp_path / "observer.safetensors")
    config = TrainObserverConfig(source=str(shared_source), arch="convnet3", size=32, out=out, device="cpu")
    with pytest.raises(InputError, match=f"training {TOLD}, or a smaller --batch-size"):
        tasks.training.train_observer.train_observer.fn(config)
