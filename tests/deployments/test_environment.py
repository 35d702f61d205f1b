"""Settings made before Prefect starts, without overriding the user's own."""

import logging
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import httpx
import pytest

from deployments.environment import PROJECT_ROOT, drop_unusable_proxies, prepare_environment, tidy_logs
from rded_core.errors import InputError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home in an environment without Prefect's variables, restored afterwards."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "DO_NOT"))}
    monkeypatch.setattr(os, "environ", {**kept, "HOME": str(tmp_path)})
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    return tmp_path


def test_prefect_keeps_its_files_in_the_project_by_default(home: Path) -> None:
    prepare_environment()
    assert os.environ["PREFECT_HOME"] == str(PROJECT_ROOT / ".prefect")
    assert (PROJECT_ROOT / "pyproject.toml").is_file()
    assert os.environ["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] == "180"
    assert os.environ["DO_NOT_TRACK"] == "1"
    assert not list(home.iterdir())


def test_users_settings_stay(home: Path) -> None:
    settings = {
        "PREFECT_HOME": str(home / "mine"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "true",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "5",
        "PREFECT_API_URL": "http://127.0.0.1:4200/api",
    }
    os.environ.update(settings)
    prepare_environment()
    assert {name: os.environ[name] for name in settings} == settings


def test_users_profile_is_used(home: Path) -> None:
    (home / ".prefect").mkdir()
    (home / ".prefect" / "profiles.toml").touch()
    prepare_environment()
    assert "PREFECT_HOME" not in os.environ


@pytest.mark.parametrize("name", ["prefect.flow_runs", "prefect.task_runs", "prefect.engine"])
def test_only_users_mistakes_are_hidden(name: str) -> None:
    def is_logged(message: str, error: Exception | None = None) -> bool:
        info = (type(error), error, None) if error else None
        return bool(logger.filter(logging.LogRecord(name, logging.ERROR, "", 0, message, (), info)))

    logger = logging.getLogger(name)
    tidy_logs()
    tidy_logs()
    assert not is_logged("Encountered exception during execution", InputError("ipc"))
    assert not is_logged("Finished in state Failed('Task run encountered an exception InputError: no such folder')")
    assert is_logged("Encountered exception during execution", RuntimeError("a defect"))
    assert is_logged("Finished in state Failed('Task run encountered an exception RuntimeError: a defect')")
    assert is_logged("score 0000-0001: 2 made: 20 usable candidates, 0.2 s")


@pytest.mark.parametrize("wait_s", [0.0, 1.0, 2.5])
def test_ctrl_c_during_the_start_ends_it(
    shared_source: Path, trained_weights: Path, tmp_path: Path, wait_s: float
) -> None:
    """Users press Ctrl-C as soon as something takes long: while Prefect is imported and its server started."""
    flags = ["--observer", "rded:convnet3", "--weights", trained_weights, "--ipc", "1", "--size", "32"]
    command = [sys.executable, "-m", "deployments", "distill", shared_source, *flags, "--out", tmp_path / "run"]
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path / "prefect")}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=PROJECT_ROOT, env=environment) as started:
        assert started.stderr
        first = started.stderr.readline()
        time.sleep(wait_s)
        started.send_signal(signal.SIGINT)
        rest = started.stderr.read()
    assert "starting Prefect" in first
    assert started.returncode == 130, rest
    assert "Traceback" not in rest
    assert rest.splitlines()[-1] == "rded: error: interrupted; rerun the same command to resume"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"HTTP_PROXY": "http://proxy:9"}, "127.0.0.1,localhost,::1"),
        ({"https_proxy": "http://proxy:9", "NO_PROXY": "intranet"}, "intranet,127.0.0.1,localhost,::1"),
        ({"ALL_PROXY": "http://proxy:9", "no_proxy": "localhost, intranet"}, "localhost,intranet,127.0.0.1,::1"),
        ({"HTTP_PROXY": "http://proxy:9", "NO_PROXY": "*"}, "*"),
        ({"NO_PROXY": "intranet"}, "intranet"),
        ({}, None),
    ],
)
@pytest.mark.usefixtures("home")
def test_loopback_is_reached_without_a_proxy(variables: dict[str, str], expected: str | None) -> None:
    _without_proxies(variables)
    prepare_environment()
    found = {os.environ[name] for name in ("NO_PROXY", "no_proxy") if name in os.environ}
    assert found == ({expected} if expected is not None else set())
    if variables and expected != "intranet":
        with httpx.Client() as client:  # what Prefect's client does with them
            transport = client._transport_for_url(httpx.URL("http://127.0.0.1:4200/api"))
            assert transport is client._transport
        assert urllib.request.proxy_bypass("localhost:4200")


def _without_proxies(variables: dict[str, str]) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    os.environ.update(variables)


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "SOCKS5H://host:9"])
@pytest.mark.parametrize("server", ["", "http://127.0.0.1:4200/api", "http://[::1]:4200/api"])
@pytest.mark.usefixtures("home")
def test_a_socks_proxy_is_left_out_if_everything_is_local(
    monkeypatch: pytest.MonkeyPatch, proxy: str, server: str
) -> None:
    monkeypatch.setattr("deployments.environment.find_spec", lambda _: None)
    _without_proxies({"ALL_PROXY": proxy, "all_proxy": proxy, "HTTP_PROXY": "http://proxy:9"})
    os.environ["PREFECT_API_URL"] = server
    note = drop_unusable_proxies(["distill", "photos", "--runner", "tcp://scheduler:8786"])
    assert note.startswith("ALL_PROXY names a proxy (socks")
    assert note.endswith("so it is not used; install it (pip install socksio), or unset the variable")
    assert "all_proxy" not in os.environ
    assert os.environ["HTTP_PROXY"] == "http://proxy:9"
    httpx.Client().close()


@pytest.mark.parametrize(
    ("arguments", "server"),
    [
        (["distill", "s3://bucket/photos"], ""),
        (["distill", "--out", "hf://datasets/a/b"], ""),
        ([], "https://prefect/api"),
    ],
)
@pytest.mark.usefixtures("home")
def test_a_socks_proxy_that_may_be_needed_is_an_error(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], server: str
) -> None:
    monkeypatch.setattr("deployments.environment.find_spec", lambda _: None)
    _without_proxies({"https_proxy": "socks5://127.0.0.1:9", "PREFECT_API_URL": server})
    with pytest.raises(
        InputError, match=r"^https_proxy names a proxy \(socks5\) that needs the package socksio; [^\n]*$"
    ):
        drop_unusable_proxies(arguments)
    assert os.environ["https_proxy"] == "socks5://127.0.0.1:9"


@pytest.mark.parametrize("installed", [None, "installed"])
@pytest.mark.parametrize("scheme", ["socks4", "socks4a", "ftp"])
@pytest.mark.usefixtures("home")
def test_a_proxy_of_another_kind_is_not_helped_by_a_package(
    monkeypatch: pytest.MonkeyPatch, scheme: str, installed: str | None
) -> None:
    monkeypatch.setattr("deployments.environment.find_spec", lambda _: installed)
    fault, remedy = (
        f"ALL_PROXY names a proxy ({scheme}) that is not supported",
        "name an http or socks5 proxy, or unset",
    )
    _without_proxies({"ALL_PROXY": f"{scheme}://127.0.0.1:9", "PREFECT_API_URL": ""})
    with pytest.raises(InputError) as error:
        drop_unusable_proxies(["distill", "s3://bucket/photos"])
    assert str(error.value) == f"{fault}; {remedy} the variable"
    assert drop_unusable_proxies(["distill", "photos"]) == f"{fault}, so it is not used; {remedy} the variable"


@pytest.mark.parametrize("form", [["--config", "{}"], ["--config={}"]])
@pytest.mark.usefixtures("home")
def test_a_url_in_a_config_may_need_the_proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, form: list[str]) -> None:
    monkeypatch.setattr("deployments.environment.find_spec", lambda _: None)
    _without_proxies({"ALL_PROXY": "socks5://127.0.0.1:9", "PREFECT_API_URL": ""})
    config = tmp_path / "run.json"
    arguments = ["distill", *(text.format(config) for text in form)]
    with pytest.raises(InputError, match="needs the package socksio"):
        drop_unusable_proxies(arguments)
    config.write_text('{"source": "s3://bucket/photos"}')
    with pytest.raises(InputError, match="needs the package socksio"):
        drop_unusable_proxies(arguments)
    config.write_text('{"source": "photos"}')
    assert "so it is not used" in drop_unusable_proxies(arguments)


@pytest.mark.usefixtures("home")
def test_a_usable_proxy_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.environment.find_spec", lambda _: "installed")
    _without_proxies({"ALL_PROXY": "socks5://127.0.0.1:9", "HTTP_PROXY": "proxy:8080"})
    assert drop_unusable_proxies(["distill", "s3://bucket/photos"]) == ""
    assert os.environ["ALL_PROXY"] == "socks5://127.0.0.1:9"
