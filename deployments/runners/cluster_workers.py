"""What workers of a cluster have in common, whatever the engine."""

import logging
import time
from typing import Any, Self

from rded_core.errors import RunStopped

NO_WORKER_S = 300.0
"""So long a cluster may be without any worker before the run stops."""


class ClusterWorkers:
    """Goes before an engine's task runner: workers that the engine itself replaces when they end.

    Attributes:
        engine: its name, for people.
        num_processes: how many share this machine's cores; 1 where they are other machines.
    """

    engine: str
    num_processes = 1
    _seen_s = 0.0

    def duplicate(self) -> Self:
        """Returns another one like this: Prefect starts one for each run of a flow."""
        parent: Any = super()
        runner = parent.duplicate()
        runner.num_processes = self.num_processes
        return runner

    def __enter__(self) -> Self:
        runner: Any = self
        runner.logger.setLevel(logging.WARNING)  # it tells of a dashboard that is switched off
        parent: Any = super()
        return parent.__enter__()

    def num_workers(self) -> int:
        """Counts the workers that the cluster has now."""
        raise NotImplementedError

    def check(self) -> None:
        """Raises RunStopped where the cluster has had no worker for minutes."""
        now = time.monotonic()
        if self.num_workers() or not self._seen_s:
            self._seen_s = now
        if now - self._seen_s > NO_WORKER_S:
            raise RunStopped(
                f"no {self.engine} worker for {NO_WORKER_S:.0f} s; the same command again goes on where it stopped"
            )

    def renew(self) -> None:
        """Does nothing: the engine starts other workers itself."""
