"""Fixtures: finished runs, and forgetting in them."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.tasks.forget.runs import Forget, MakeConfig, RunUndecorated


@pytest.fixture
def forget(plain_flows: None) -> Forget:  # noqa: ARG001
    """``forget(run, name, ...)``, without Prefect."""

    def call(run: Path, *names: str) -> dict[str, Any]:
        from flows.forget import forget

        return forget(str(run), list(names))

    return call


@pytest.fixture(scope="package")
def finished(
    make_config: MakeConfig, run_undecorated: RunUndecorated, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished run, which tests copy."""
    run = tmp_path_factory.mktemp("forget") / "run"
    run_undecorated(make_config(run))
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))
