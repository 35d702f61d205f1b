"""Ray workers: a cluster on this machine, or an existing one. Needs the extra ``ray``."""

import logging
import os
import socket
from typing import Any, Self
from urllib.parse import urlsplit

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_COLOR_PREFIX", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # tasks that request no GPU see the machine's

import ray
from prefect_ray.context import remote_options
from prefect_ray.task_runners import PrefectRayFuture, RayTaskRunner
from ray.exceptions import NodeDiedError, ObjectLostError, OutOfMemoryError, OwnerDiedError, WorkerCrashedError

from deployments.runners.cluster_workers import ClusterWorkers
from rded_core.errors import InputError, RunStopped, first_line
from tasks.runtime.stage_task import takes_gpu

CONNECT_S = 20.0

STORE_BYTES = 128 * 2**20
"""Size of Ray's shared-memory store on this machine: tasks exchange only paths and small records."""

QUIET: dict[str, Any] = {
    "logging_level": logging.ERROR,
    "runtime_env": {"worker_process_setup_hook": "deployments.environment.tidy_logs"},
}
"""Settings that hide log lines which do not help in a terminal."""


class RayWorkers(ClusterWorkers, RayTaskRunner[Any]):
    """Ray workers; when one ends, Ray itself replaces it and restarts its tasks, three times at most.

    Attributes:
        lost: exceptions that a task's future raises if workers keep ending over it.
        attempts: how often a task that fails with one of them is started.
    """

    lost = (WorkerCrashedError, NodeDiedError, OwnerDiedError, ObjectLostError, OutOfMemoryError)
    attempts = 2
    engine = "Ray"

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

    def __enter__(self) -> Self:
        try:
            return super().__enter__()
        except (ConnectionError, OSError) as error:
            cluster = f"the Ray cluster at {self.address}" if self.address else "a Ray cluster on this machine"
            token = "; set RAY_AUTH_MODE=token if the cluster requires a token" if self.address else ""
            raise RunStopped(f"cannot start on {cluster}: {first_line(error)}{token}") from error

    def submit(self, task: Any, parameters: dict[str, Any], *rest: Any, **named: Any) -> PrefectRayFuture[Any]:
        """Submits a task to Ray; it gets a GPU of its own if it uses one and the cluster has any."""
        takes_one = takes_gpu(task) and parameters["plan"].config.device != "cpu"
        with remote_options(**({"num_gpus": 1} if takes_one and ray.cluster_resources().get("GPU") else {})):
            return super().submit(task, parameters, *rest, **named)

    def wait(self, future: PrefectRayFuture[Any], timeout_s: float) -> bool:
        """Waits for a task; returns True if it has ended. Ray's exceptions are raised by its result."""
        done, _ = ray.wait([future.wrapped_future], timeout=timeout_s)
        return bool(done)

    def num_workers(self) -> int:
        """Returns the number of tasks that the cluster has room for now: each takes one CPU."""
        return int(ray.cluster_resources().get("CPU", 0))


def require_cluster(address: str) -> None:
    """Raises InputError if nothing listens at the address of a Ray cluster."""
    place = urlsplit(address)
    try:
        with socket.create_connection((place.hostname or "", place.port or 10001), timeout=CONNECT_S):
            return
    except (OSError, ValueError) as error:
        raise InputError(
            f"no Ray cluster at {address} ({error}); start one with: ray start --head --ray-client-server-port 10001"
        ) from error
