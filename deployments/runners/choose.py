"""Choice of the task runner: this process, worker processes, or a Dask or Ray cluster."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Generator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import forkserver
from threading import Thread
from typing import Any, Self

from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from deployments.environment import PROJECT_ROOT, tidy_logs
from rded_core.errors import InputError
from rded_core.io.device.devices import num_available_cores

CORES_PER_PROCESS = 4
"""With more threads than this in one process, the interpreter's lock is the limit."""

MIN_PROCESSES = 2

KINDS = (
    "thread, process, dask, ray, or the address of a Dask scheduler (tcp://HOST:PORT) or Ray cluster (ray://HOST:PORT)"
)


def make_runner(kind: str, num_processes: int | None = None) -> TaskRunner[Any]:
    """Returns the Prefect task runner of a kind.

    Args:
        kind: ``thread``, ``process``, ``dask`` or ``ray`` (a cluster on this machine), or a cluster's address.
        num_processes: worker processes; by default one per four cores, at least two.

    Raises:
        InputError: the runner is unknown or not installed, or no cluster answers at the address.
    """
    is_address = kind.startswith(("tcp://", "tls://", "ray://"))
    if kind not in ("thread", "process", "dask", "ray") and not is_address:
        raise InputError(f"runner must be one of {KINDS}; got {kind!r}")
    if num_processes is not None and (num_processes < 1 or kind == "thread" or is_address):
        raise InputError("task_workers must be >= 1, and needs --runner process, dask or ray")
    if kind == "thread":
        return ThreadPoolTaskRunner()
    num_processes = num_processes or max(num_available_cores() // CORES_PER_PROCESS, MIN_PROCESSES)
    if kind == "process":
        return WorkerProcesses(num_processes)
    engine = "ray" if kind.startswith("ray") else "dask"
    try:
        if engine == "ray":
            from deployments.runners.ray_workers import RayWorkers as Workers
            from deployments.runners.ray_workers import require_cluster
        else:
            from deployments.runners.dask_workers import DaskWorkers as Workers
            from deployments.runners.dask_workers import require_cluster
    except ImportError as error:
        install = f"install it with: pip install -e '.[{engine}]'"
        raise InputError(f"--runner {kind} needs rded's extra {engine!r} ({error}); {install}") from error
    if is_address:
        require_cluster(kind)
    return Workers.at(kind) if is_address else Workers.here(num_processes)


class WorkerProcesses(ProcessPoolTaskRunner):
    """Worker processes on this machine, each with its own interpreter and its own copy of the networks.

    Attributes:
        num_processes: worker processes that share this machine's cores.
        lost: exceptions that a task's future raises if a worker process has ended.
        attempts: how often a task that fails with one of them is started.
    """

    lost = (BrokenProcessPool,)
    attempts = 3

    def __init__(self, max_workers: int) -> None:
        super().__init__(max_workers=max_workers, initializer=_begin_worker)
        self.num_processes = max_workers

    def duplicate(self) -> Self:
        """Returns a copy: Prefect starts one for each flow run."""
        return type(self)(self.num_processes)

    def __enter__(self) -> Self:
        super().__enter__()
        if sys.platform == "linux":
            _fork_from_server(self._executor)
        # A worker killed while sending a log line never releases the queue's lock, so do not wait for it at exit.
        if self._subprocess_message_queue is not None:
            self._subprocess_message_queue.cancel_join_thread()
        return self

    def wait(self, future: Any, timeout_s: float) -> bool:
        """Waits for a task; returns True if it has ended.

        Raises:
            BrokenProcessPool: the workers were killed while one was started for this task.
        """
        try:
            future.wait(timeout_s)
        except OSError as error:  # a task's own errors come as states
            raise BrokenProcessPool("a worker process ended") from error
        return future.wrapped_future.done()

    def check(self) -> None:
        """Raises BrokenProcessPool if a worker has ended: a task submitted at that very moment would never return."""
        if getattr(self._executor, "_broken", False):
            raise BrokenProcessPool("a worker process ended")

    def renew(self) -> None:
        """Replaces all worker processes."""
        for process in multiprocessing.active_children():
            process.kill()
        self.__exit__(None, None, None)
        self.__enter__()


def _fork_from_server(executor: Any) -> None:
    """Lets a pool that has no process yet fork them from one that has imported PyTorch and Prefect.

    Prefect spawns them: each would import both again, in some four seconds, and hold its own copy in memory.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["flows.distill", __name__])
    with _own_modules_first():
        forkserver.ensure_running()
    executor._mp_context = context


@contextmanager
def _own_modules_first() -> Generator[None]:
    """Lets processes started in a block find our modules before those of the working directory: a user's tasks.py."""
    before = {name: os.environ.get(name) for name in ("PYTHONSAFEPATH", "PYTHONPATH")}
    paths = filter(None, (str(PROJECT_ROOT), before["PYTHONPATH"]))
    os.environ |= {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(paths)}
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ |= {name: value} if value is not None else {}


def _begin_worker() -> None:
    """Makes a worker end with its parent process, no matter how that ends, and leaves Ctrl-C to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    tidy_logs()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)
