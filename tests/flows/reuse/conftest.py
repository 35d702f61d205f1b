"""A finished run and its source, which tests change in copies."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.flows.reuse.changes import (
    Distill,
    MakeConfig,
)


@pytest.fixture
def distill(plain_flows: None) -> Distill:  # noqa: ARG001
    from flows.distill import distill

    return distill  # type: ignore[return-value]


@pytest.fixture(scope="package")
def source(shared_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source for these tests only, which `restore_source` restores."""
    return Path(shutil.copytree(shared_source, tmp_path_factory.mktemp("reuse") / "source"))


@pytest.fixture
def restore_source(source: Path, tmp_path: Path) -> Iterator[None]:
    """Restores the source after a test, including modification times."""
    shutil.copytree(source, tmp_path / "backup")
    yield
    shutil.rmtree(source)
    shutil.copytree(tmp_path / "backup", source)


@pytest.fixture(scope="package")
def base(
    make_config: MakeConfig, run_undecorated: Callable[..., Path], source: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:  # fmt: skip
    out = tmp_path_factory.mktemp("base") / "run"
    run_undecorated(make_config(out, source=str(source)))
    return out


@pytest.fixture
def out(base: Path, tmp_path: Path) -> Path:
    """A copy of the finished run for the test."""
    return Path(shutil.copytree(base, tmp_path / "run"))
