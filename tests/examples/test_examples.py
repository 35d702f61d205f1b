"""The examples, run as users run them, on a dataset that takes seconds."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rded_core.io.dataset.distilled import DistilledDataset

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(
    make_config: Callable[..., Any], run_undecorated: Callable[[Any], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return run_undecorated(make_config(tmp_path_factory.mktemp("examples") / "run", label_epochs=3))


def run(name: str, *arguments: object) -> list[str]:
    """Runs an example in a separate process and returns the lines that it prints."""
    command = [sys.executable, str(ROOT / "examples" / name), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_plain_pytorch(folder: Path, shared_source: Path) -> None:
    *epochs, accuracy = run("train_pytorch.py", folder, "--epochs", 3, "--val", shared_source, "--device", "cpu")
    assert [line.partition(":")[0] for line in epochs] == [f"epoch {number} of 3" for number in (1, 2, 3)]
    assert accuracy.endswith("% of 36 images")


def test_timm_trains_and_resumes(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("timm")
    options = ("--epochs", 3, "--batch-size", 3, "--device", "cpu", "--checkpoint", tmp_path / "student.pt")
    assert len(run("train_timm.py", folder, "--model", "test_resnet", *options)) == 3
    saved = torch.load(tmp_path / "student.pt", weights_only=True)
    saved["loader"] |= {"epoch": 1, "step": 1}
    torch.save(saved, tmp_path / "student.pt")
    resumed, *epochs = run("train_timm.py", folder, "--model", "test_resnet", *options)
    assert resumed == "resumed at epoch 2 of 3"
    assert [line.partition(":")[0] for line in epochs] == ["epoch 2 of 3", "epoch 3 of 3"]


@pytest.mark.parametrize("codec", ["float16", "int8", "int4", "topk:2", "features"])
def test_duckdb_query_agrees_with_the_loader(
    make_config: Any, run_undecorated: Any, tmp_path: Path, codec: str
) -> None:
    pytest.importorskip("duckdb")
    folder = run_undecorated(make_config(tmp_path / "run", label_codec=codec, label_epochs=2))
    lines = [line.split("\t") for line in run("query_labels.py", folder)]
    assert [line[0] for line in lines] == ["class_index", "1", "10", "2"] * 2
    surest, entropies = lines[1:4], lines[5:]
    dataset = DistilledDataset(folder)
    logits, rows = [], []
    for epoch in range(2):
        labels = dataset.read_epoch(epoch)
        logits.append(dataset.codec.decode(labels.encoded).double())
        rows.append(labels.rows)
    shares, own = torch.cat(logits).softmax(dim=1), dataset.images.class_indices[torch.cat(rows)]
    for index in range(3):
        views = shares[own == index]
        assert float(surest[index][3]) == pytest.approx(views[:, index].max().item(), rel=1e-4)
        entropy = torch.special.entr(views).sum(dim=1).mean().item()
        assert float(entropies[index][1]) == pytest.approx(entropy, rel=1e-4)
        assert float(entropies[index][2]) == pytest.approx((views.argmax(dim=1) == index).double().mean().item())
