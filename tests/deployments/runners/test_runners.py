"""Every task runner gives the same result."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from distributed import LocalCluster

from deployments.environment import PROJECT_ROOT
from deployments.runners.choose import WorkerProcesses, make_runner
from flows.distill import distill
from rded_core.config import DistillConfig
from rded_core.errors import InputError
from tasks.run import plan as plan_module
from tasks.run.prepare import prepare

MakeConfig = Callable[..., DistillConfig]


@pytest.fixture(scope="module")
def small_config(make_config: MakeConfig) -> MakeConfig:
    """Makes the config of a run with a task for each class."""
    return partial(make_config, workers=None, ipc=1, num_candidates=4, label_epochs=1, classes_per_shard=1)


@pytest.fixture(scope="module")
def sums_in_one_process(
    prefect_harness: None,  # noqa: ARG001
    small_config: MakeConfig,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    dataset = distill(small_config(tmp_path_factory.mktemp("thread") / "run"))["dataset"]
    return (Path(dataset) / "SHA256SUMS").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_harness")
@pytest.mark.parametrize("kind", ["process", "dask", "ray"])
def test_workers_give_the_same_bytes_and_the_next_run_reuses_them(
    small_config: MakeConfig, sums_in_one_process: str, tmp_path: Path, kind: str
) -> None:
    config = small_config(tmp_path / "run")
    made = distill.with_options(task_runner=make_runner(kind, 2))(config)
    assert (Path(made["dataset"]) / "SHA256SUMS").read_text() == sums_in_one_process
    again = distill(config)
    assert sum(entry["made"] for entry in again["work"]) == 0
    assert sum(entry["reused"] for entry in again["work"]) == sum(entry["made"] for entry in made["work"])


@pytest.mark.parametrize(
    ("kind", "num_processes", "message"),
    [
        ("spark", None, "runner must be one of thread, process, dask, ray, or the address of a Dask scheduler"),
        ("process", 0, "task_workers must be >= 1"),
        ("thread", 2, "task_workers .* needs --runner process, dask or ray"),
        ("tcp://127.0.0.1:1", 2, "task_workers .* needs --runner process, dask or ray"),
    ],
)
def test_invalid_runner_is_rejected(kind: str, num_processes: int | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_runner(kind, num_processes)


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "deployments.runners.dask_workers", raising=False)
    with pytest.raises(InputError, match=r"--runner dask needs rded's extra 'dask' \(.*pip install -e '\.\[dask\]'"):
        make_runner("dask")


def test_missing_dask_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.runners.dask_workers.CONNECT_S", 0.5)
    with pytest.raises(InputError, match=r"no Dask scheduler at tcp://127.0.0.1:1 "):
        make_runner("tcp://127.0.0.1:1")


def test_missing_ray_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.runners.ray_workers.CONNECT_S", 0.5)
    for address in ("ray://127.0.0.1:1", "ray://127.0.0.1:x"):
        with pytest.raises(
            InputError, match=rf"^no Ray cluster at {address} \([^\n]*; start one with: ray start --head"
        ):
            make_runner(address)


@pytest.mark.parametrize(
    ("num_workers", "message"),
    [(0, r"no worker is connected to .*--nthreads 1"), (1, r"needs workers with one thread each.*--nthreads 1")],
)
def test_cluster_needs_workers_with_one_thread(num_workers: int, message: str) -> None:
    size = {"n_workers": num_workers, "threads_per_worker": 2, "processes": False}
    with (
        LocalCluster(**size, protocol="tcp://", dashboard_address="127.0.0.1:0") as cluster,
        pytest.raises(InputError, match=message),
    ):
        make_runner(cluster.scheduler_address)


def test_duplicate_of_a_runner_keeps_its_settings() -> None:
    runner = make_runner("process", 3)
    assert isinstance(runner, WorkerProcesses)
    assert runner.duplicate().num_processes == 3
    assert getattr(make_runner("ray", 3).duplicate(), "num_processes") == 3  # noqa: B009
    assert getattr(make_runner("dask", 3).duplicate(), "num_processes") == 3  # noqa: B009


def test_worker_processes_share_the_cores_unless_threads_are_given(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_module, "num_available_cores", lambda: 9)
    plan = prepare.fn(make_config(tmp_path / "a", workers=None))
    shares = [plan.sharing_cores(num_processes).config.workers for num_processes in (1, 2, 4, 64)]
    assert shares == [None, 4, 2, 1]
    assert prepare.fn(make_config(tmp_path / "b", workers=5)).sharing_cores(4).config.workers == 5
    assert plan.config.workers is None


def test_workers_get_an_absolute_out(make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan = prepare.fn(make_config(Path("run")))
    assert plan.config.out == "run"
    assert plan.sharing_cores(1).config.out == str(tmp_path / "run")


FROM_ELSEWHERE = """
from deployments.runners.choose import make_runner

if __name__ == "__main__":
    with make_runner("process", 1) as runner:
        print(runner._executor.submit(eval, "__import__('tasks.patches').__file__").result())
"""


@pytest.mark.processes
def test_modules_of_the_working_directory_are_not_taken_for_ours(tmp_path: Path) -> None:
    """A user's folder may hold a tasks.py; a console script does not look there, so its workers must not either."""
    (tmp_path / "work" / "flows").mkdir(parents=True)
    for name in ("tasks.py", "flows/__init__.py"):
        (tmp_path / "work" / name).write_text("raise RuntimeError('not ours')")
    (tmp_path / "script.py").write_text(FROM_ELSEWHERE)
    environment = {**os.environ, "PYTHONPATH": str(PROJECT_ROOT)}
    command = [sys.executable, str(tmp_path / "script.py")]
    done = subprocess.run(
        command, cwd=tmp_path / "work", env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout == f"{PROJECT_ROOT / 'tasks' / '__init__.py'}\n", done.stderr
