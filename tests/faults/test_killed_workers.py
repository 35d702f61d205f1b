"""Worker processes killed in the middle of a task: the run continues, or the same command resumes it."""

import dataclasses
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from rded_core.config import DistillConfig

MakeConfig = Callable[..., DistillConfig]
PROJECT_ROOT = Path(__file__).resolve().parents[2]
STOPPED = "rded: error: a worker process ended (killed, or out of memory?); run the same command again to resume it"
RUN_S = 540.0
"""Time after which a run is taken to hang; it takes half a minute on an idle machine."""

MAX_RUNS = 4
FIRST_FILES, LAST_FILES = 7, 26
"""Range of new files after which to kill: from the index, which the flow writes itself, to the last labels."""


@dataclasses.dataclass
class Trial:
    """One run folder, the command that fills it, and a random generator for the faults."""

    out: Path
    command: list[str]
    environment: dict[str, str]
    random: random.Random
    kills: int = 0
    outcomes: list[int] = dataclasses.field(default_factory=list)

    def run(self, harm: "Callable[[Trial, psutil.Process], None] | None" = None) -> int:
        """Runs the command once, calling `harm` meanwhile; returns its exit code and leaves no process behind."""
        with (self.out.parent / "stderr.txt").open("w+") as log:
            started = psutil.Popen(
                self.command, env=self.environment, stdout=log, stderr=log, cwd=PROJECT_ROOT, start_new_session=True
            )
            try:
                if harm:
                    harm(self, started)
                code = started.wait(timeout=RUN_S)
                log.seek(0)
                self._check_end(code, log.read())
                _assert_alone(started.pid)
            finally:
                _end_session(started.pid)
        self.outcomes.append(code)
        return code

    def _check_end(self, code: int, log: str) -> None:
        assert "Traceback" not in log, log
        assert code in (0, 1, -signal.SIGKILL), log
        assert (STOPPED in log.splitlines()) == (code == 1), log

    def num_files(self) -> int:
        return sum(not path.name.startswith(".") for path in (self.out / "work").rglob("*.*"))

    def kill_one(self, run: psutil.Process, after: int) -> None:
        """Kills a worker once there are `after` new files; does nothing if the run ends before."""
        goal = self.num_files() + after
        while _is_alive(run) and (self.num_files() < goal or not _workers(run)):
            time.sleep(0.01)
        time.sleep(self.random.uniform(0.0, 0.3))
        if workers := _workers(run):
            self.random.choice(workers).kill()
            self.kills += 1


def _is_alive(run: psutil.Process) -> bool:
    return run.is_running() and run.status() != psutil.STATUS_ZOMBIE


def _workers(run: psutil.Process) -> list[psutil.Process]:
    try:
        return [child for child in run.children(recursive=True) if _is_worker(child, run)]
    except psutil.Error:
        return []


def _is_worker(child: psutil.Process, run: psutil.Process) -> bool:
    """Whether a process works for a run: Dask spawns its own, others are forked from a server, which does not work."""
    command = " ".join(child.cmdline())
    return "spawn_main" in command or ("forkserver" in command and child.ppid() != run.pid)


def _in_session(session: int) -> list[int]:
    pids: list[int] = []
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == session and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                pids.append(pid)
        except (OSError, psutil.Error):
            continue
    return pids


def _assert_alone(session: int) -> None:
    """Asserts that all processes of a run end with it; a worker that has just started finishes its imports first."""
    for _ in range(1200):
        if not _in_session(session):
            return
        time.sleep(0.1)
    commands = [psutil.Process(pid).cmdline() for pid in _in_session(session)]
    raise AssertionError(f"still running: {commands}")


def _end_session(session: int) -> None:
    for pid in _in_session(session):
        os.kill(pid, signal.SIGKILL)


StartTrial = Callable[[str, int], Trial]


@pytest.fixture(scope="module")
def start_trial(
    prefect_environment: dict[str, str], make_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory
) -> StartTrial:
    def start(runner: str, seed: int) -> Trial:
        folder = tmp_path_factory.mktemp(f"trial-{seed}")
        config = folder / "config.json"
        config.write_text(json.dumps(dataclasses.asdict(make_config(folder / "run", classes_per_shard=1))))
        flags = ["-c", str(config), "--runner", runner, *([] if runner == "thread" else ["--task-workers", "2"])]
        command = [sys.executable, "-m", "deployments", "distill", *flags]
        return Trial(folder / "run", command, prefect_environment, random.Random(seed))

    return start


@pytest.fixture(scope="module")
def expected(start_trial: StartTrial) -> str:
    """The sums of an undisturbed run in a single process.

    It is a separate process: torch.fx cannot trace our networks while tests check shapes, which changes last bits.
    """
    trial = start_trial("thread", 0)
    assert trial.run() == 0
    return (trial.out / "dataset" / "SHA256SUMS").read_text()


def _kill_now_and_then(trial: Trial, run: psutil.Process) -> None:
    for _ in range(trial.random.randint(1, 3)):
        trial.kill_one(run, trial.random.randint(FIRST_FILES, LAST_FILES // 2))


def _kill_once(trial: Trial, run: psutil.Process) -> None:
    trial.kill_one(run, trial.random.randint(FIRST_FILES, LAST_FILES))


def _rerun_until_done(trial: Trial, expected: str) -> None:
    while trial.outcomes[-1] != 0:
        assert len(trial.outcomes) < MAX_RUNS
        trial.run()
    assert (trial.out / "dataset" / "SHA256SUMS").read_text() == expected


def _kill_flow(trial: Trial, run: psutil.Process) -> None:
    """Kills the workers' parent process once there are two workers."""
    while _is_alive(run) and len(_workers(run)) < 2:
        time.sleep(0.01)
    time.sleep(trial.random.uniform(0.0, 1.0))
    run.kill()


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["process", "dask"])
def test_workers_end_with_the_run(start_trial: StartTrial, runner: str) -> None:
    assert start_trial(runner, 3).run(_kill_flow) == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["process", pytest.param("dask", marks=pytest.mark.soak)])
def test_run_that_loses_a_worker_gives_the_same_dataset(start_trial: StartTrial, expected: str, runner: str) -> None:
    trial = start_trial(runner, 1)
    trial.run(_kill_once)
    assert trial.kills == 1
    _rerun_until_done(trial, expected)


def _kill_all_at_once(trial: Trial, run: psutil.Process) -> None:
    """Kills every worker as soon as it has started."""
    while _is_alive(run):
        for worker in _workers(run):
            worker.kill()
            trial.kills += 1
        time.sleep(0.2)


@pytest.mark.slow
def test_run_that_loses_every_worker_ends_with_one_line(start_trial: StartTrial, expected: str) -> None:
    trial = start_trial("process", 2)
    assert trial.run(_kill_all_at_once) == 1
    assert trial.kills >= 3
    _rerun_until_done(trial, expected)


@pytest.mark.soak
@pytest.mark.parametrize("runner", ["process", "dask"])
def test_twenty_killed_workers_lose_nothing(start_trial: StartTrial, expected: str, runner: str) -> None:
    trials: list[Trial] = []
    while sum(trial.kills for trial in trials) < 20:
        trials.append(start_trial(runner, 100 + len(trials)))
        trials[-1].run(_kill_now_and_then)
        _rerun_until_done(trials[-1], expected)
        kills = sum(trial.kills for trial in trials)
        stopped = sum(code == 1 for trial in trials for code in trial.outcomes)
        print(f"{runner}: {len(trials)} trials, {kills} workers killed, {stopped} runs stopped, sums all equal")
