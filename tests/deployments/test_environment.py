"""Settings made before Prefect starts, without overriding the user's own."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deployments.environment import PROJECT_ROOT, prepare_environment, tidy_logs
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


def test_sigterm_prints_the_message() -> None:
    """Slurm, Docker and systemd send SIGTERM."""
    code = "import os, signal; from deployments.environment import stop_on_interrupt; stop_on_interrupt('bye', 130); "
    done = subprocess.run(
        [sys.executable, "-c", code + "os.kill(os.getpid(), signal.SIGTERM)"], capture_output=True, cwd=PROJECT_ROOT,
        text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, "bye\n")
