"""Faults of server, worker and database during a deployment's run: it completes, and the server's records are whole."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from benchmarks.workload import write_observer, write_workload
from tests.faults.orchestration import Lab, await_that, count_records, count_task_runs, fields_of

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]

NUM_CLASSES = 100
LABEL_EPOCHS = 60
PORT = 4590


@dataclass(frozen=True, slots=True)
class Trials:
    """Runs of one source on a lab's server, each compared with the undisturbed one."""

    lab: Lab
    source: Path
    weights: Path
    echo: Callable[[str], object]

    def out(self, name: str) -> Path:
        return self.lab.folder / "runs" / name

    def fields(self, name: str) -> dict[str, Any]:
        return fields_of(self.source, self.weights, self.out(name), label_epochs=LABEL_EPOCHS)

    def begin(self, name: str) -> UUID:
        """Queues a run, and returns its id once it is Running."""
        run = self.lab.begin(self.fields(name))
        self.lab.await_state(run, "Running")
        return run

    def await_records(self, name: str, stage: str, count: int) -> None:
        await_that(lambda: count_records(self.out(name), stage) >= count, f"{count} records of {stage}")

    def check(self, name: str, run: UUID) -> dict[str, int]:
        """Checks that a run completes with the undisturbed run's bytes and a row per task run; returns the rows."""
        assert self.lab.await_state(run) == "Completed", self.lab.history(run)
        expected = count_task_runs(self.out(name))
        rows = self.lab.rows_once_complete(run, expected)
        shown = ", ".join(f"{count} {state}" for state, count in sorted(rows.items()))
        self.echo(f"{name}: Completed, {expected} task runs, the server has {shown}")
        sums = (self.out(name) / "dataset" / "SHA256SUMS").read_text()
        assert sums == (self.out("undisturbed") / "dataset" / "SHA256SUMS").read_text()
        assert rows.keys() <= {"Completed", "Cached"}, rows
        assert sum(rows.values()) == expected
        return rows


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Trials]:
    folder = tmp_path_factory.mktemp("orchestration")
    source = write_workload(folder / "source", num_classes=NUM_CLASSES, per_class=3, px=(32, 32))
    weights = write_observer(folder / "observer.safetensors", arch="convnet3", num_classes=NUM_CLASSES, size=32)
    home = os.environ.get("PREFECT_HOME")
    lab = Lab(folder)
    lab.rded("up", "--port", str(PORT))
    try:
        trials = Trials(lab, source, weights, request.config.get_terminal_writer().line)
        trials.check("undisturbed", trials.begin("undisturbed"))
        yield trials
    finally:
        lab.rded("down")
        os.environ.pop("PREFECT_HOME")
        if home:
            os.environ["PREFECT_HOME"] = home


def test_four_hundred_task_runs_end_almost_at_once(trials: Trials) -> None:
    rows = trials.check("undisturbed", trials.begin("undisturbed"))
    assert rows["Cached"] >= 4 * NUM_CLASSES


@pytest.mark.parametrize("seconds", [5, 30])
@pytest.mark.parametrize("stage", ["realism", "squeeze"])
def test_server_is_killed_and_restarted(trials: Trials, seconds: float, stage: str) -> None:
    name = f"server-{stage}-{seconds}"
    run = trials.begin(name)
    trials.await_records(name, stage, 30)
    with trials.lab.server_gone(seconds):
        pass
    trials.check(name, run)


def test_database_is_locked_repeatedly(trials: Trials) -> None:
    run = trials.begin("locked")
    with trials.lab.database_locked(15.0, 3.0) as counts:
        await_that((trials.out("locked") / "dataset").exists, "the dataset")
        time.sleep(10.0)
    trials.echo(f"locked {counts['times']} times for 15 s")
    trials.check("locked", run)


def test_worker_and_run_are_killed(trials: Trials) -> None:
    """`rded up` marks the run as Crashed, since its process is gone; a second run resumes its work."""
    run = trials.begin("worker")
    trials.await_records("worker", "realism", 30)
    trials.lab.kill_worker()
    assert "restarting all of it" in trials.lab.rded("up", "--port", str(PORT))
    assert trials.lab.state(run) == "Crashed"
    rows = trials.check("worker", trials.begin("worker"))
    assert rows["Cached"] > NUM_CLASSES + 25


def test_runs_stopped_by_hand_are_not_restarted(trials: Trials) -> None:
    trials.lab.environment["PREFECT_API_URL"] = trials.lab.stack.api_url
    trials.lab.rded("automations")
    del trials.lab.environment["PREFECT_API_URL"]
    run = trials.begin("down")
    trials.await_records("down", "realism", 30)
    assert "1 active run stopped with it" in trials.lab.rded("down")
    trials.lab.rded("up", "--port", str(PORT))
    time.sleep(30.0)
    assert trials.lab.history(run)[-1] == "Cancelled"
    assert "Crashed" not in trials.lab.history(run)
    shutil.rmtree(trials.out("down") / "work" / "realism")
    trials.check("down", trials.begin("down"))
