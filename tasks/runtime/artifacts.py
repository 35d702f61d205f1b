"""Prefect artifacts of a run: pages, tables and progress bars. They never stop a run or hold it up.

Outside a run of Prefect none are created: the same tasks run without it.
"""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from rded_core.errors import first_line
from rded_core.io.layout.run import RunFolder
from rded_core.io.storage.urls import is_url
from rded_core.text.secrets import mask_secrets
from rded_core.text.summaries import artifact_key
from tasks.runtime.logs import run_logger

UPDATE_EVERY_S = 5.0
"""Shortest time between two updates of a progress bar."""

TIMEOUT_S = 5.0
"""Longest wait for a server that does not answer."""

PAUSE_S = 300.0
"""Time without requests after one has failed."""

_quiet_until = 0.0


def is_shown() -> bool:
    """Whether there is a Prefect run that artifacts can belong to."""
    return FlowRunContext.get() is not None or TaskRunContext.get() is not None


def key_of(out: str, what: str) -> str:
    """Returns the key of a run folder's artifact, the same in every run there, so that the UI keeps its history."""
    location = out.rstrip("/") if is_url(out) else str(Path(out).resolve())
    owner = None if is_url(out) else RunFolder(Path(location)).owner
    name = location.rpartition("/")[2]
    digest = hashlib.sha256(location.encode()).hexdigest()
    return artifact_key(f"{owner.root.name}-{name}" if owner else name, digest, what)


def show_markdown(key: str, text: str, description: str, *, picture: str = "") -> None:
    """Shows a page; masks secrets in its text, and appends `picture`, an image in Markdown, unchanged."""
    _create("markdown", mask_secrets(text) + picture, description, key=key)


def show_table(key: str, rows: list[dict[str, Any]], description: str) -> None:
    """Shows a table with a row for each mapping; masks secrets."""
    _create("table", mask_secrets(json.dumps(rows)), description, key=key)


class ProgressArtifact:
    """A progress bar in the UI, created at its first update; it never goes back.

    Args:
        key: key of a flow run's bar, which has a history; None for a bar of the task run.
    """

    def __init__(self, key: str | None = None) -> None:
        self.key = key
        self._artifact: UUID | None = None
        self._share = 0.0
        self._due = time.monotonic() + UPDATE_EVERY_S

    def update(self, share: float, text: str, *, at_once: bool = False) -> None:
        """Shows the share of the work that is done, 0 to 1, and a description; skipped soon after another update."""
        self._share = max(self._share, min(share, 1.0))
        is_end = share >= 1 and self._artifact is not None
        if time.monotonic() < self._due and not (at_once or is_end):
            return
        self._due = time.monotonic() + UPDATE_EVERY_S
        percent, description = round(100 * self._share, 1), mask_secrets(text)
        if self._artifact is None:
            self._artifact = _create("progress", percent, description, key=self.key)
        else:
            artifact, update = self._artifact, ArtifactUpdate(data=percent, description=description)
            _ask(lambda client: client.update_artifact(artifact, update))


def _create(kind: str, data: Any, description: str, *, key: str | None) -> UUID | None:
    flow_run, task_run = FlowRunContext.get(), TaskRunContext.get()
    if flow_run is None and task_run is None:
        return None
    run_id = task_run.task_run.flow_run_id if task_run else None
    artifact = ArtifactCreate(
        key=key,
        type=kind,
        description=mask_secrets(description),
        data=data,
        flow_run_id=run_id or (flow_run.flow_run.id if flow_run and flow_run.flow_run else None),
        task_run_id=task_run.task_run.id if task_run and key is None else None,
    )
    created: Any = _ask(lambda client: client.create_artifact(artifact))
    return created.id if created else None


def _ask(call: Callable[[SyncPrefectClient], Any]) -> Any:
    """Calls the server through a separate client that gives up soon; returns None if that fails."""
    global _quiet_until
    if time.monotonic() < _quiet_until:
        return None
    try:
        with (
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
            get_client(sync_client=True, httpx_settings={"timeout": TIMEOUT_S}) as client,
        ):
            return call(client)
    except (httpx.HTTPError, PrefectException, RuntimeError, OSError) as error:
        _quiet_until = time.monotonic() + PAUSE_S
        reason = mask_secrets(f"{type(error).__name__}: {first_line(error)}")
        run_logger().warning("could not update Prefect artifacts (%s); continuing without them", reason)
        return None
