"""Dask workers: a cluster on this machine, or an existing one. Needs the extra ``dask``."""

import logging
from importlib import import_module
from typing import Any, Self

from distributed import Client, KilledWorker, Worker, WorkerPlugin
from distributed.client import FutureCancelledError
from prefect_dask.client import PrefectDaskClient
from prefect_dask.task_runners import DaskTaskRunner

from deployments.environment import tidy_logs
from deployments.runners.cluster_workers import ClusterWorkers
from rded_core.errors import InputError

CONNECT_S = 20.0


class DaskWorkers(ClusterWorkers, DaskTaskRunner):
    """Dask workers; when one ends, Dask itself replaces it and restarts its tasks.

    Attributes:
        lost: exceptions that a task's future raises if several workers have ended over it, or the scheduler is gone.
        attempts: how often a task that fails with one of them is started.
    """

    lost = (KilledWorker, FutureCancelledError)
    attempts = 1
    engine = "Dask"

    @classmethod
    def here(cls, num_processes: int) -> Self:
        """Returns a cluster on this machine, which ends with the flow."""
        # One thread per process (each task starts several itself); memory is left to the operating system.
        size = {"n_workers": num_processes, "threads_per_worker": 1, "processes": True, "memory_limit": 0}
        runner = cls(cluster_kwargs={**size, "dashboard_address": "127.0.0.1:0"})
        runner.num_processes = num_processes
        return runner

    @classmethod
    def at(cls, address: str) -> Self:
        """Returns the cluster whose scheduler listens at `address`."""
        return cls(address=address)

    def __exit__(self, *raised: Any) -> None:
        logging.getLogger("distributed.nanny").setLevel(
            logging.ERROR
        )  # else it warns when it kills workers that end slowly
        super().__exit__(*raised)

    @property
    def client(self) -> PrefectDaskClient:
        """The client, which connects on first access."""
        is_new = self._client is None
        client = super().client
        if is_new:
            client.register_plugin(_TidyLogs(), name="rded")
        return client

    def wait(self, future: Any, timeout_s: float) -> bool:
        """Waits for a task; returns True if it has ended."""
        future.wait(timeout_s)
        return future.wrapped_future.done()

    def num_workers(self) -> int:
        """Returns the number of workers that are connected to the scheduler now."""
        threads: Any = self.client.nthreads()
        return len(threads)


class _TidyLogs(WorkerPlugin):
    """Applies `tidy_logs` in every worker, including those that join later."""

    def setup(self, worker: Worker) -> None:
        del worker
        tidy_logs()


def require_cluster(address: str) -> None:
    """Raises InputError if no Dask scheduler answers at an address, or its workers cannot run this project's tasks."""
    try:
        with Client(address, timeout=CONNECT_S, set_as_default=False) as client:
            threads: Any = client.nthreads()
            if threads:
                client.run(import_module, __name__)
    except ImportError as error:
        raise InputError(
            f"the Dask workers at {address} cannot import rded ({error}); start them with its checkout in PYTHONPATH"
        ) from error
    except (OSError, TimeoutError, ValueError) as error:
        raise InputError(f"no Dask scheduler at {address} ({error}); start one with: dask scheduler") from error
    start = f"dask worker {address} --nthreads 1"
    if not threads:
        raise InputError(f"no worker is connected to the Dask scheduler at {address}; start some with: {start}")
    if set(threads.values()) != {1}:
        raise InputError(
            f"the Dask scheduler at {address} needs workers with one thread each, since tasks start threads "
            f"themselves; start them with: {start}"
        )
