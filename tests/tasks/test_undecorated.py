"""The stages as plain functions: no Prefect, the same bytes."""

from collections.abc import Callable
from pathlib import Path

from rded_core.config import DistillConfig


def test_stages_without_prefect_give_the_same_bytes_as_the_flow(
    finished_run: Path,
    make_config: Callable[..., DistillConfig],
    run_undecorated: Callable[[DistillConfig], Path],
    tmp_path: Path,
) -> None:
    dataset = run_undecorated(make_config(tmp_path / "run"))
    assert (dataset / "SHA256SUMS").read_text() == (finished_run / "dataset" / "SHA256SUMS").read_text()
