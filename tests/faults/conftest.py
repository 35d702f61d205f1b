"""A small real source, an undisturbed run of it to compare with, and a Prefect server for whole commands."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import photo_like
from tests.faults.child import end_with_parent
from tests.faults.harness import Command, Outcome

CLASSES = tuple(f"class-{letter}" for letter in "abcdefghijkl")
IMAGES_PER_CLASS = 13

FLAGS = (
    "--observer", "rded:convnet3", "--ipc", "2", "--num-candidates", "12", "--num-crops", "2", "--size", "32",
    "--label-epochs", "25", "--label-batch-size", "12", "--classes-per-shard", "5", "--image-format", "png",
    "--device", "cpu", "--workers", "2", "--force",
)  # fmt: skip
"""Flags that give three class shards and three label tables, with an untrained observer, which needs --force."""

MakeCommand = Callable[..., Command]


def write_source(root: Path) -> Path:
    """Writes an image folder of a dozen classes, in PNG and JPEG; returns `root`."""
    for hue, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for number in range(IMAGES_PER_CLASS):
            suffix = "png" if number % 2 else "jpg"
            photo_like(100 * hue + number, height=36 + number, width=44, hue=hue).save(
                root / name / f"{number}.{suffix}"
            )
    return root


@pytest.fixture(scope="session")
def fault_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source, which tests do not change."""
    return write_source(tmp_path_factory.mktemp("faults") / "source")


@pytest.fixture(scope="session")
def fault_weights(save_untrained: Callable[..., Path]) -> Path:
    """An observer for the source's classes."""
    return save_untrained(classes=CLASSES)


@pytest.fixture
def make_command(fault_source: Path, fault_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeCommand:
    """Makes a ``distill`` command: ``make_command(out, "--ipc", "3", source=..., environment=...)``."""

    def make(out: Path, *flags: str, source: Path = fault_source, environment: dict[str, str] | None = None) -> Command:
        arguments = ["distill", str(source), "--weights", str(fault_weights), *FLAGS, *flags, "--out", str(out)]
        return Command(arguments, out, tmp_path_factory.mktemp("logs"), environment)

    return make


@pytest.fixture(scope="session")
def undisturbed(
    fault_source: Path, fault_weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str]]:
    """The run folder of an undisturbed run, and its file operations in order."""
    folder = tmp_path_factory.mktemp("undisturbed")
    arguments = ["distill", str(fault_source), "--weights", str(fault_weights), *FLAGS, "--out", str(folder / "run")]
    (folder / "logs").mkdir()
    log = folder / "log.txt"
    Command(arguments, folder / "run", folder / "logs").finish(log=str(log))
    return folder / "run", list(dict.fromkeys(log.read_text().splitlines()))


@pytest.fixture(scope="session")
def expected(undisturbed: tuple[Path, list[str]]) -> Outcome:
    """The outcome that every run of the source must have."""
    return Outcome.of(undisturbed[0])


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of commands that report to a Prefect server, which runs for the session."""
    home = tmp_path_factory.mktemp("prefect")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (home / "server.log").open("wb") as log:
        server = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True, preexec_fn=end_with_parent
        )
    try:
        _await_server(f"http://127.0.0.1:{port}/api/health", server, home / "server.log")
        yield environment
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _await_server(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(log.read_text())
