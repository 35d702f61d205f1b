"""Ray workers: a cluster on this machine, or one that is there already. Needs the extra ``ray``."""

import logging
import os
import socket
import time
from typing import Any, Self
from urllib.parse import urlsplit

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_COLOR_PREFIX", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # tasks that ask for no GPU see those of the machine

import ray
from prefect_ray.context import remote_options
from prefect_ray.task_runners import PrefectRayFuture, RayTaskRunner
from ray.exceptions import NodeDiedError, ObjectLostError, OutOfMemoryError, OwnerDiedError, WorkerCrashedError

from rded_core.errors import InputError, RunStopped, first_line
from tasks.policies import GPU

CONNECT_S = 20.0
NO_WORKER_S = 300.0
"""So long a cluster may be without any CPU for tasks before the run stops."""

STORE_BYTES = 128 * 2**20
"""Of shared memory on this machine: tasks exchange paths and small records."""


QUIET: dict[str, Any] = {
    "logging_level": logging.ERROR,
    "runtime_env": {"worker_process_setup_hook": "deployments.environment.tidy_logs"},
}
"""Keeps from the terminal what says nothing there."""


class RayWorkers(RayTaskRunner[Any]):
    """Ray workers, which Ray itself replaces when they end, and whose tasks it begins again three times.

    Attributes:
        num_processes: how many share this machine's cores; 1 where they are other machines.
        lost: what a task's future raises when workers have ended over it again and again.
        attempts: how often tasks that were lost so are begun.
    """

    lost = (WorkerCrashedError, NodeDiedError, OwnerDiedError, ObjectLostError, OutOfMemoryError)
    attempts = 2
    num_processes = 1
    _seen_s = 0.0

    @classmethod
    def here(cls, num_processes: int) -> Self:
        """Returns a cluster on this machine, which ends with the flow."""
        size = {"num_cpus": num_processes, "object_store_memory": STORE_BYTES}
        runner = cls(init_kwargs={**size, **QUIET, "include_dashboard": False})
        runner.num_processes = num_processes
        return runner

    @classmethod
    def at(cls, address: str) -> Self:
        """Returns the cluster whose Ray Client server listens at ``ray://HOST:PORT``."""
        return cls(address=address, init_kwargs=QUIET)

    def duplicate(self) -> Self:
        """Returns another one like this: Prefect starts one for each run of a flow."""
        runner = super().duplicate()
        runner.num_processes = self.num_processes
        return runner

    def __enter__(self) -> Self:
        self.logger.setLevel(logging.WARNING)  # it tells of a dashboard that is switched off
        try:
            return super().__enter__()
        except (ConnectionError, OSError) as error:
            where = f"the Ray cluster at {self.address}" if self.address else "a Ray cluster on this machine"
            raise RunStopped(f"cannot start on {where}: {first_line(error)}") from error

    def submit(self, task: Any, parameters: dict[str, Any], *rest: Any, **named: Any) -> PrefectRayFuture[Any]:
        """Hands a task to Ray: to a worker with a GPU of its own, where the task uses one and the cluster has some."""
        asked = {"num_gpus": 1} if GPU in task.tags and ray.cluster_resources().get("GPU") else {}
        with remote_options(**asked):
            return super().submit(task, parameters, *rest, **named)

    def wait(self, future: PrefectRayFuture[Any], timeout_s: float) -> bool:
        """Waits for a task, and tells whether it has ended; what Ray raises is left for its result."""
        done, _ = ray.wait([future.wrapped_future], timeout=timeout_s)
        return bool(done)

    def check(self) -> None:
        """Raises RunStopped where the cluster has had no worker for minutes."""
        now = time.monotonic()
        if ray.cluster_resources().get("CPU") or not self._seen_s:
            self._seen_s = now
        if now - self._seen_s > NO_WORKER_S:
            raise RunStopped(f"no Ray worker for {NO_WORKER_S:.0f} s; the same command again goes on where it stopped")

    def renew(self) -> None:
        """Does nothing: Ray starts other workers itself."""


def require_cluster(address: str) -> None:
    """Raises InputError where nothing listens at the address of a Ray cluster."""
    place = urlsplit(address)
    try:
        with socket.create_connection((place.hostname or "", place.port or 10001), timeout=CONNECT_S):
            return
    except (OSError, ValueError) as error:
        raise InputError(
            f"no Ray cluster at {address} ({error}); start one with: ray start --head --ray-client-server-port 10001"
        ) from error
