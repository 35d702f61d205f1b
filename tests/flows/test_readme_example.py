"""The reader in a dataset's own README: run as printed, it gives the same batches as rded's own."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from rded_core.config import DistillConfig
from rded_core.io.dataset.distilled import DistilledDataset
from rded_core.io.layout.dataset import DatasetFolder
from rded_core.labels.views import apply_views
from rded_core.training.losses import kl_at_temperature


def _example(folder: Path) -> dict[str, Any]:
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)
    assert code
    names: dict[str, Any] = {}
    exec(code[1].replace('Path(".")', f"Path({str(folder)!r})"), names)
    return names


@pytest.mark.parametrize("changes", [{}, {"mix": "mixup", "factor": 1}, {"factor": 3, "mix": "none", "size": 32}])
def test_printed_reader_equals_ours(make_config: Any, run_undecorated: Any, tmp_path: Path, changes: Any) -> None:
    config: DistillConfig = make_config(tmp_path / "run", **{"ipc": 1, **changes})
    _compare(run_undecorated(config))


@pytest.mark.parametrize("codec", ["int8", "int4", "features", "topk:2"])
def test_printed_reader_reads_every_codec(make_config: Any, run_undecorated: Any, tmp_path: Path, codec: str) -> None:
    _compare(run_undecorated(make_config(tmp_path / "run", ipc=1, label_codec=codec)))


def _compare(folder: Path) -> None:
    example, dataset = _example(folder), DistilledDataset(DatasetFolder(folder))
    style = {"mean": tuple(dataset.recipe["mean"]), "std": tuple(dataset.recipe["std"])}
    for epoch in (0, 11):
        theirs, ours = list(example["recorded_batches"](epoch)), list(dataset.recorded_batches(epoch))
        assert len(theirs) == len(ours)
        for (views, logits), (rows, recorded, own_logits) in zip(theirs, ours, strict=True):
            torch.testing.assert_close(views, apply_views(dataset.images.images[rows], recorded, **style))
            torch.testing.assert_close(logits, own_logits)


def test_printed_loss_equals_ours(finished_run: Path) -> None:
    student, teacher = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    expected = kl_at_temperature(student, teacher, temperature=20.0)
    torch.testing.assert_close(_example(finished_run / "dataset")["loss"](student, teacher), expected)
