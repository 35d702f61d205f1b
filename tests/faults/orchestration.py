"""A server and a worker of ``rded up``, faults to inject into them, and the server's records of a run."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import UUID

import psutil

from deployments.environment import PROJECT_ROOT
from deployments.server.processes import Started
from deployments.server.setup import client_of, is_healthy
from deployments.server.state import Stack, read_stack, write_stack

LIMIT_S = 600.0
ROWS_WITHIN_S = 60.0
DONE_ONCE = ("prepare", "check observer", "choose labels", "publish")
ENDED = ("Completed", "Cached", "Failed", "Crashed", "Cancelled")


class Lab:
    """``rded up`` in a separate folder.

    Attributes:
        folder: folder that it is called in, with Prefect's home inside.
        stack: the running stack.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
            "PREFECT_HOME": str(self.home),
            "PYTHONPATH": str(PROJECT_ROOT),
        }

    def rded(self, *arguments: str) -> str:
        """Runs ``rded`` and returns its output."""
        done = subprocess.run(
            [sys.executable, "-m", "deployments", *arguments], cwd=self.folder, env=self.environment,
            capture_output=True, text=True, check=False, timeout=LIMIT_S,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def stack(self) -> Stack:
        os.environ["PREFECT_HOME"] = str(self.home)  # read_stack looks there
        stack = read_stack()
        assert stack
        return stack

    @contextmanager
    def client(self) -> Generator[Any]:
        """Yields a client for the server."""
        with client_of(self.stack.api_url, None) as client:
            yield client

    def begin(self, fields: dict[str, Any], deployment: str = "distill/distill") -> UUID:
        """Queues a run of a deployment, and returns its id."""
        with self.client() as client:
            deployment_id = client.read_deployment_by_name(deployment).id
            return client.create_flow_run_from_deployment(deployment_id, parameters={"config": fields}).id

    def state(self, run: UUID) -> str:
        """Returns the name of a run's state; "" if the server does not answer."""
        if not is_healthy(self.stack.api_url, None):
            return ""
        with self.client() as client:
            return str(client.read_flow_run(run).state.name)

    def await_state(self, run: UUID, *names: str, within_s: float = LIMIT_S) -> str:
        """Returns a run's state once it is one of `names`, or the run has ended."""
        ends = time.monotonic() + within_s
        while (state := self.state(run)) not in (*names, *ENDED):
            assert time.monotonic() < ends, f"{state} after {within_s} s"
            time.sleep(0.5)
        return state

    def rows_once_complete(self, run: UUID, num_runs: int) -> dict[str, int]:
        """Counts a flow run's task runs on the server by state, once `num_runs` have ended or a minute has passed."""
        ends = time.monotonic() + ROWS_WITHIN_S
        while True:
            rows = self.rows(run)
            if sum(rows.get(state, 0) for state in ENDED) >= num_runs or time.monotonic() > ends:
                return rows
            time.sleep(1.0)

    def rows(self, run: UUID) -> dict[str, int]:
        """Counts a flow run's task runs on the server by state."""
        from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

        wanted = FlowRunFilter(id=FlowRunFilterId(any_=[run]))
        task_runs: list[Any] = []
        with self.client() as client:
            while page := client.read_task_runs(flow_run_filter=wanted, limit=200, offset=len(task_runs)):
                task_runs += page
        return dict(Counter(str(each.state.name) if each.state else "no state" for each in task_runs))

    def history(self, run: UUID) -> list[str]:
        """Returns the names of a flow run's states, in order."""
        with self.client() as client:
            states = sorted(client.read_flow_run_states(run), key=lambda state: state.timestamp)
        return [state.name for state in states]

    @contextmanager
    def server_gone(self, seconds: float) -> Generator[None]:
        """Kills the server and, `seconds` after the block, restarts it: same command, port, settings, database."""
        stack = self.stack
        process = stack.server.find() if stack.server else None
        assert process
        command, environment, folder = process.cmdline(), process.environ(), process.cwd()
        _kill_tree(stack.server)
        yield
        time.sleep(seconds)
        with (self.home / "rded" / "server.log").open("ab") as log:
            again = psutil.Popen(
                command, env=environment, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        write_stack(replace(stack, server=Started(again.pid, again.create_time())))
        while not is_healthy(stack.api_url, None):
            assert again.poll() is None, "the server ended during startup"
            time.sleep(0.2)

    def kill_worker(self) -> None:
        """Kills the worker and the processes of its runs."""
        _kill_tree(self.stack.worker)

    @contextmanager
    def database_locked(self, hold_s: float, pause_s: float) -> Generator[Counter[str]]:
        """Repeatedly holds the server's database in an exclusive transaction while a block runs; yields the count."""
        stop, counts = Event(), Counter[str]()

        def hold() -> None:
            while not stop.is_set():
                database = sqlite3.connect(self.home / "prefect.db", timeout=LIMIT_S, isolation_level=None)
                database.execute("BEGIN EXCLUSIVE")
                counts["times"] += 1
                stop.wait(hold_s)
                database.execute("ROLLBACK")
                database.close()
                stop.wait(pause_s)

        thread = Thread(target=hold)
        thread.start()
        try:
            yield counts
        finally:
            stop.set()
            thread.join()


def _kill_tree(part: Started | None) -> None:
    process = part.find() if part else None
    assert process, "the process does not run"
    for each in [process, *process.children(recursive=True)]:
        each.send_signal(signal.SIGKILL)
    process.wait(30)


def await_that(is_so: Callable[[], bool], what: str, within_s: float = LIMIT_S) -> None:
    """Returns once a condition holds; `what` describes it in the error."""
    ends = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < ends, f"not within {within_s} s: {what}"
        time.sleep(0.05)


def count_records(out: Path, stage: str) -> int:
    """Returns the number of finished units of a stage."""
    return len([path for path in (out / "work" / stage).glob("*.json") if not path.name.startswith(".")])


def count_task_runs(out: Path) -> int:
    """Returns the number of task runs that a finished run must have had: one per output, plus those that run once."""
    by_class = sum(count_records(out, stage) for stage in ("candidates", "realism", "selection", "squeeze"))
    return by_class + len(list((out / "work" / "soft_labels").glob("*.parquet"))) + len(DONE_ONCE)


def fields_of(source: Path, weights: Path, out: Path, **changes: Any) -> dict[str, Any]:
    """Returns the config of a run that has a task run for each class and stage."""
    fields = {
        "source": str(source), "observer": "rded:convnet3", "weights": str(weights), "ipc": 1, "out": str(out),
        "num_candidates": 3, "num_crops": 2, "factor": 1, "size": 32, "label_epochs": 10, "classes_per_shard": 1,
        "device": "cpu", "workers": 2, "force": True,
    }  # fmt: skip
    return {**fields, **changes}
