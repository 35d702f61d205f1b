"""Signals end a command at once: its runs are marked as ended, and the server that it started ends with it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName

from deployments.environment import PROJECT_ROOT

BEGIN = "import os, signal; from deployments.cli.signals import end_on_signals; "


def _run(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, cwd=PROJECT_ROOT, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGXCPU"])
def test_a_signal_ends_with_one_line(name: str) -> None:
    """Slurm, Docker, systemd and closed terminals send them."""
    code = f"signal.signal(signal.{name}, signal.SIG_DFL); end_on_signals(); os.kill(os.getpid(), signal.{name})"
    done = _run(BEGIN + code)
    line = f"rded: error: interrupted by {name}; rerun the same command to resume\n"
    assert (done.returncode, done.stderr) == (128 + getattr(signal, name), line)


def test_an_ignored_signal_stays_ignored() -> None:
    """As by nohup."""
    code = "signal.signal(signal.SIGHUP, signal.SIG_IGN); end_on_signals(); os.kill(os.getpid(), signal.SIGHUP)"
    assert _run(BEGIN + code).returncode == 0


def test_a_closed_terminal_does_not_keep_the_process() -> None:
    done = _run(BEGIN + "end_on_signals(); os.close(2); os.kill(os.getpid(), signal.SIGHUP)")
    assert done.returncode == 128 + signal.SIGHUP


def test_a_forked_process_ends_alone() -> None:
    """PyTorch ends the workers of its data loaders so; they must not report for the command."""
    code = (
        "signal.signal(signal.SIGTERM, signal.SIG_DFL); end_on_signals(); child = os.fork(); "
        "child or (os.kill(os.getpid(), signal.SIGTERM), os._exit(7)); "
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    done = _run(BEGIN + code)
    assert (done.stdout, done.stderr, done.returncode) == (f"{-signal.SIGTERM}\n", "", 0)


SLEEPING = """
import os, sys, time
from deployments.cli.signals import end_on_signals
end_on_signals()
from deployments.server import temporary
temporary.start()
from prefect import flow, task
temporary.wait()

@task
def sleep():
    print("asleep", temporary._process.pid if temporary._process else "", flush=True)
    time.sleep(60)

@flow(name="inner", flow_run_name=sys.argv[1])
def inner():
    sleep()

@flow(name="outer", flow_run_name=sys.argv[1])
def outer():
    inner()

outer()
"""


def _start(name: str, environment: dict[str, str]) -> "tuple[subprocess.Popen[str], str]":
    """Starts a flow in a flow and waits for its task; returns the process, and the id of its server if it has one."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPING, name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=PROJECT_ROOT,
        text=True, env=environment, start_new_session=True,
    )  # fmt: skip
    assert process.stdout
    words = process.stdout.readline().split()
    assert words, process.communicate()[1]
    return process, words[-1]


@pytest.mark.parametrize(("number", "state"), [(signal.SIGINT, "CANCELLED"), (signal.SIGHUP, "CRASHED")])
def test_runs_are_marked_as_ended(prefect_environment: dict[str, str], number: signal.Signals, state: str) -> None:
    """Nothing else would end them: they would be Running for good."""
    name = f"sleeping until {number.name}"
    process, _ = _start(name, prefect_environment)
    process.send_signal(number)
    assert process.wait(30) == 128 + number
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=[name])))
        states: list[Any] = [run.state_type for run in runs]
    assert [each.value for each in states] == [state, state]


@pytest.mark.server
@pytest.mark.parametrize("how", ["killed", "whole group interrupted"])
def test_the_local_server_ends_with_its_command(prefect_database: Path, tmp_path: Path, how: str) -> None:
    """Also if Prefect's ephemeral mode is switched off, and behind a proxy that cannot reach this machine."""
    (tmp_path / "prefect.db").write_bytes(prefect_database.read_bytes())
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
        "PREFECT_HOME": str(tmp_path),
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    process, server = _start("sleeping", environment)
    assert psutil.pid_exists(int(server))
    if how == "killed":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGTERM)
    process.wait(40)
    deadline = time.monotonic() + 20
    while psutil.pid_exists(int(server)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not psutil.pid_exists(int(server))
