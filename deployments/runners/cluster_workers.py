"""The part that Dask and Ray workers have in common."""

import logging
import time
from typing import Any, Self

from rded_core.errors import RunStopped

NO_WORKER_S = 300.0
"""Seconds without any worker after which the run stops."""


class ClusterWorkers:
    """Mixin, listed before an engine's task runner, for workers that the engine itself replaces when they end.

    Attributes:
        engine: name of the engine, as shown to users.
        num_processes: workers that share this machine's cores; 1 if they run on other machines.
    """

    engine: str
    num_processes = 1
    _seen_s = 0.0

    def duplicate(self) -> Self:
        """Returns a copy: Prefect starts one for each flow run."""
        parent: Any = super()
        runner = parent.duplicate()
        runner.num_processes = self.num_processes
        return runner

    def __enter__(self) -> Self:
        runner: Any = self
        runner.logger.setLevel(logging.WARNING)  # else it reports a dashboard that is switched off
        parent: Any = super()
        return parent.__enter__()

    def num_workers(self) -> int:
        """Returns the number of workers that the cluster has now."""
        raise NotImplementedError

    def check(self) -> None:
        """Raises RunStopped if the cluster has had no worker for `NO_WORKER_S` seconds."""
        now = time.monotonic()
        if self.num_workers() or not self._seen_s:
            self._seen_s = now
        if now - self._seen_s > NO_WORKER_S:
            raise RunStopped(f"no {self.engine} worker for {NO_WORKER_S:.0f} s; rerun the same command to resume")

    def renew(self) -> None:
        """Does nothing: the engine replaces workers itself."""
