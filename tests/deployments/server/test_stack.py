"""``rded up`` and ``rded down``: all that was started is stopped, and nothing else."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.states import Running

from deployments.environment import PROJECT_ROOT
from deployments.server import stack
from deployments.server.processes import MARK, Started, find_marked, start
from deployments.server.schedules import schedule_of
from deployments.server.setup import WORKER_LABEL, client_of, create_pool, end_runs, is_healthy
from deployments.server.state import Stack, environment_of, read_stack, with_driver, write_stack
from rded_core.config import DistillConfig
from rded_core.errors import InputError, RunStopped

MakeConfig = Callable[..., DistillConfig]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Prefect's home with the state file, separate for each test."""
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    return tmp_path / "home"


@pytest.fixture
def lines() -> list[str]:
    """The lines that `up` or `down` shows."""
    return []


STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if len(sys.argv) < 2:
    subprocess.Popen([sys.executable, __file__, "below"], start_new_session=True)
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def stubborn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Started]:
    """A process that outlives SIGTERM, with a child in a session of its own, as workers and their runs are."""
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    log = tmp_path / "log"
    started = start("stubborn", log=log, environment={**os.environ, MARK: "mark"})
    deadline = time.monotonic() + 60
    while log.read_text().count("ready") < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    yield started
    for process in find_marked("mark"):
        process.kill()


def test_processes_that_outlive_sigterm_are_killed(
    stubborn: Started, lines: list[str], monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setattr(stack, "STOP_S", 0.5)
    write_stack(Stack("mark", "127.0.0.1", 1, "pool", worker=stubborn))
    assert len(find_marked("mark")) == 2
    stack.down(lines.append)
    assert find_marked("mark") == []
    assert lines == ["worker stopped"]
    assert not (home / "rded" / "stack.json").exists()


def test_up_waits_for_a_busy_server(stubborn: Started, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter((False, False, True))
    monkeypatch.setattr(stack, "is_healthy", lambda *_: next(answers))
    monkeypatch.setattr(stack, "POLL_S", 0.01)
    write_stack(Stack("mark", "127.0.0.1", 1, "pool", server=stubborn, worker=stubborn))
    assert stack.up(stack.Wanted(), lines.append).worker == stubborn
    assert lines == ["already running at http://127.0.0.1:1; stop it with rded down"]
    assert stubborn.find()


def test_runs_stopped_by_hand_are_killed_before_they_can_report_a_crash(
    stubborn: Started, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack, "STOP_S", 600.0)
    monkeypatch.setattr(stack, "_ask", lambda *_: 1)
    write_stack(Stack("mark", "127.0.0.1", 1, "pool", worker=stubborn))
    stack.down(lines.append)
    assert find_marked("mark") == []
    assert lines == ["worker stopped", "1 active run stopped with it; rerun it to resume"]


@pytest.mark.usefixtures("prefect_harness")
@pytest.mark.parametrize(
    ("by_hand", "state"),
    [(True, ("Cancelled", "stopped by rded down")), (False, ("Crashed", "its worker has ended"))],
)
def test_stopped_runs_are_cancelled_and_lost_runs_crashed(by_hand: bool, state: tuple[str, str]) -> None:
    pool = f"pool-{by_hand}"
    with get_client(sync_client=True) as client:
        create_pool(client, pool)
        flow = client.create_flow_from_name("flow")
        deployment = client.create_deployment(flow, f"deployment-{by_hand}", work_pool_name=pool)
        ours, theirs = (client.create_flow_run_from_deployment(deployment) for _ in range(2))
        for run, worker in ((ours, "ours"), (theirs, "theirs")):
            client.update_flow_run_labels(run.id, {WORKER_LABEL: worker})
            client.set_flow_run_state(run.id, Running(), force=True)
        assert end_runs(client, "ours", by_hand=by_hand) == 1
        ended = client.read_flow_run(ours.id).state
        assert ended is not None
        assert (ended.name, ended.message) == state
        assert client.read_flow_run(theirs.id).state_name == "Running"
        assert end_runs(client, "ours", by_hand=by_hand) == 0


def test_orphaned_processes_are_killed(stubborn: Started, lines: list[str]) -> None:
    os.kill(stubborn.pid, signal.SIGKILL)
    write_stack(Stack("mark", "127.0.0.1", 1, "pool", worker=stubborn))
    while stubborn.find():
        time.sleep(0.1)
    stack.down(lines.append)
    assert find_marked("mark") == []
    assert lines == ["worker had already ended", "1 orphaned process killed"]


def test_another_process_with_the_same_id_is_left_alone(stubborn: Started, lines: list[str]) -> None:
    write_stack(Stack("other", "127.0.0.1", 1, "pool", server=Started(stubborn.pid, stubborn.since - 60)))
    stack.down(lines.append)
    assert lines == ["server had already ended"]
    assert psutil.Process(stubborn.pid).is_running()


def test_nothing_to_stop(lines: list[str]) -> None:
    stack.down(lines.append)
    assert len(lines) == 1
    assert lines[0].startswith("nothing to stop: ")


def test_two_commands_at_once(lines: list[str]) -> None:
    with stack._alone(), pytest.raises(InputError, match="another rded up or rded down is running"):
        stack.down(lines.append)


def test_other_machines_need_a_password(monkeypatch: pytest.MonkeyPatch, lines: list[str]) -> None:
    monkeypatch.delenv("PREFECT_SERVER_API_AUTH_STRING", raising=False)
    with pytest.raises(InputError, match=r"--host 0\.0\.0\.0 would let anyone .* set PREFECT_SERVER_API_AUTH_STRING="):
        stack.up(stack.Wanted(host="0.0.0.0"), lines.append)
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "me:secret")
    stack.require_safe("0.0.0.0")
    assert environment_of(Stack("m", "0.0.0.0", 1, "pool"))["PREFECT_API_AUTH_STRING"] == "me:secret"


def test_free_port() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"cannot listen on port {port} of 127\.0\.0\.1: .*; give another --port"):
            stack.choose_port("127.0.0.1", port)
    assert stack.choose_port("127.0.0.1", port) == port
    assert stack.choose_port("127.0.0.1", None) >= 4200


def test_environment_of_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://elsewhere:1/api")
    environment = environment_of(Stack("m", "127.0.0.1", 4300, "mine"), "postgresql://u:p@db/prefect")
    assert environment["PREFECT_API_URL"] == "http://127.0.0.1:4300/api"
    assert environment["PREFECT_SERVER_UI_API_URL"] == "http://127.0.0.1:4300/api"
    assert environment["PREFECT_API_DATABASE_CONNECTION_URL"] == "postgresql+asyncpg://u:p@db/prefect"
    assert (environment["RDED_WORK_POOL"], environment["RDED_FOLDER"]) == ("mine", str(Path.cwd()))
    assert with_driver("sqlite+aiosqlite:///x") == "sqlite+aiosqlite:///x"


def test_state_file(home: Path) -> None:
    assert read_stack() is None
    written = write_stack(Stack("m", "::1", 4200, "pool", server=Started(1, 2.5)))
    assert read_stack() == written
    assert written.url == "http://[::1]:4200"
    (home / "rded" / "stack.json").write_text(json.dumps({"mark": 1}))
    with pytest.raises(InputError, match=r"stack\.json is damaged .*; delete it"):
        read_stack()


@pytest.mark.parametrize(
    ("every", "cron", "message"),
    [
        (None, None, "give one of --every"),
        ("1d", "0 3 * * *", "give one of --every"),
        ("1 day", None, "must be a number followed by s, m, h or d, such as 12h; got '1 day'"),
        ("0h", None, "must be a number followed by s, m, h or d"),
        (None, "at three", "must have five fields"),
    ],
)
def test_invalid_schedules(every: str | None, cron: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        schedule_of(every, cron)


def test_valid_schedules() -> None:
    assert schedule_of("90s", None).interval.total_seconds() == 90
    assert schedule_of("2d", None).interval.total_seconds() == 172800
    assert schedule_of(None, "0 3 * * *").cron == "0 3 * * *"


@pytest.mark.slow
def test_server_that_does_not_start(lines: list[str], home: Path) -> None:
    with pytest.raises(RunStopped, match="the server ended during startup; see its log "):
        stack.up(stack.Wanted(database="nonsense://nowhere"), lines.append)
    assert any(line.startswith("  ") and "nonsense" in line for line in lines), lines
    assert not (home / "rded" / "stack.json").exists()


class Rded:
    """``rded`` and ``prefect`` as an operator runs them, in a separate folder."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "PREFECT_HOME": str(home), "PYTHONPATH": str(PROJECT_ROOT)}

    def __call__(self, *arguments: str, module: str = "deployments") -> str:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments], cwd=self.folder, env=self.environment, capture_output=True,
            text=True, check=False, timeout=500,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def rded(tmp_path: Path, home: Path) -> Iterator[Rded]:
    rded = Rded(tmp_path, home)
    yield rded
    rded("down")


def _fired(api_url: str) -> list[str]:
    """Returns the messages of completed scheduled refreshes."""
    with client_of(api_url, None) as client:
        runs = client.read_flow_runs()
    return [str(run.state.message) for run in runs if run.auto_scheduled and run.state.is_completed()]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_up_schedule_refresh_and_down(rded: Rded, make_config: MakeConfig, tmp_path: Path) -> None:
    from dataclasses import asdict

    out = rded("up")
    started = read_stack()
    assert started is not None
    assert f"ready: {started.url}" in out
    assert is_healthy(started.api_url, None)
    assert f"already running at {started.url}" in rded("up")
    assert read_stack() == started

    rded.environment["PREFECT_API_URL"] = started.api_url
    fields = {**asdict(make_config(Path("run"), label_epochs=2)), "out": "run"}
    run = ("deployment", "run", "distill/distill", "--watch", "-p")
    assert "'Completed'" in rded(*run, f"config={json.dumps(fields)}", module="prefect")
    assert (tmp_path / "run" / "dataset" / "SHA256SUMS").is_file(), (
        "relative paths start in the folder that rded up was called in"
    )

    assert "refreshed every 15s" in rded("schedule", "run", "--every", "15s")
    deadline = time.monotonic() + 400
    while not _fired(started.api_url) and time.monotonic() < deadline:
        time.sleep(2)
    assert _fired(started.api_url)[0] == "nothing changed"
    shutil.rmtree(tmp_path / "run")
    assert "schedule removed" in rded("schedule", "run", "--off"), "also without its run folder"
    with pytest.raises(AssertionError, match=r"rded: error: .*/run has no schedule; prefect deployment schedule ls"):
        rded("schedule", "run", "--off")

    assert "worker stopped" in rded("down")
    assert find_marked(started.mark) == []
    assert not is_healthy(started.api_url, None)
