"""The snippets of docs/loader.md, run as printed, one after another."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from rded_core.networks import build_network

PAGE = Path(__file__).resolve().parents[2] / "docs" / "loader.md"


def test_snippets_run(make_config: Callable[..., Any], run_undecorated: Callable[[Any], Path], tmp_path: Path) -> None:
    folder = run_undecorated(make_config(tmp_path / "run", label_epochs=2))
    snippets = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    names: dict[str, Any] = {"student": build_network("convnet3", num_classes=3, size=32)}
    for snippet in snippets:
        exec(snippet.replace('"DATASET"', repr(str(folder))), names)
    assert len(snippets) == 3
    assert names["again"].state_dict() == names["loader"].state_dict()
    assert names["views"].shape == (2, 3, 32, 32)
    assert torch.isfinite(names["loss"])
