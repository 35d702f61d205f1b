"""``rded deploy`` sets up an existing server, and keeps an operator's changes."""

from collections.abc import Callable
from pathlib import Path

import pytest
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.settings import PREFECT_API_URL

from deployments.server import setup as server_setup
from deployments.server.setup import client_of, current_server
from rded_core.errors import InputError, RunStopped

RunCli = Callable[..., tuple[int, str, str]]
NAMES = ["distill/distill", "evaluate/evaluate", "refresh/refresh", "train-observer/train-observer"]


@pytest.fixture
def api_url(prefect_harness: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:  # noqa: ARG001
    """The test server's API address, set as an operator would."""
    url = str(PREFECT_API_URL.value())
    monkeypatch.setenv("PREFECT_API_URL", url)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    return url


@pytest.mark.slow
def test_pool_limit_and_deployments(api_url: str, run_cli: RunCli, tmp_path: Path) -> None:
    deploy = ("deploy", "--pool", "images", "--folder", tmp_path)
    code, out, err = run_cli(*deploy)
    assert code == 0, err
    assert out.splitlines() == [f"deployed: {name}" for name in NAMES]
    with client_of(api_url, None) as client:
        limit = client.read_global_concurrency_limit_by_name("gpu")
        client.update_global_concurrency_limit("gpu", GlobalConcurrencyLimitUpdate(limit=3))
        assert run_cli(*deploy)[0] == 0
        assert (limit.limit, client.read_global_concurrency_limit_by_name("gpu").limit) == (1, 3)
        deployment = client.read_deployment_by_name("distill/distill")
    assert deployment.work_pool_name == "images"
    assert deployment.pull_steps[0]["prefect.deployments.steps.set_working_directory"] == {"directory": str(tmp_path)}


def test_unnamed_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    with pytest.raises(InputError, match="no server is named; start one"), current_server():
        pass


def test_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    with pytest.raises(RunStopped, match=r"no server answers at http://127\.0\.0\.1:9/api"), current_server() as client:
        server_setup.create_pool(client, "images")
