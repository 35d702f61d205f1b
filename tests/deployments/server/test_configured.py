"""A server that is named in the settings must answer before a run is sent to it."""

import socket
from collections.abc import Callable

import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from deployments.server import configured

RunCli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def test_a_run_for_a_server_that_is_down_is_one_line(
    run_cli: RunCli, closed_port: int, shared_source: object, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setattr(configured, "PATIENCE_S", 0.1)
    monkeypatch.setattr(configured, "POLL_S", 0.05)
    arguments = ("train-observer", shared_source, "--arch", "convnet3", "--out", f"{tmp_path}/observer.safetensors")
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{closed_port}/api"}):
        code, _, err = run_cli(*arguments)
    assert code == 1
    assert err == (
        f"rded: error: the Prefect server at http://127.0.0.1:{closed_port}/api does not answer; start it, correct its "
        "address (PREFECT_API_URL, or Prefect's profile), or unset that to use a local server\n"
    )


def test_the_password_in_the_settings_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None]] = []
    monkeypatch.setattr(configured, "is_healthy", lambda url, auth: asked.append((url, auth)) or True)
    with temporary_settings({PREFECT_API_URL: "http://host:4200/api", PREFECT_API_AUTH_STRING: "user:word"}):
        configured.require_answer()
    assert asked == [("http://host:4200/api", "user:word")]


@pytest.mark.usefixtures("prefect_harness")
def test_a_server_that_is_up_answers() -> None:
    configured.require_answer()
