"""Artifacts: what Prefect's UI shows of a run besides states and logs. None of them ever stops a run, or holds it up.

Outside a flow run there are none: the same tasks run without Prefect.
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

TELL_EVERY_S = 5.0
"""Progress is not sent more often."""

TIMEOUT_S = 5.0
"""A server that does not answer holds a run up no longer than this ..."""

PAUSE_S = 300.0
"""... and is left alone for so long after that."""

_quiet_until = 0.0


def is_shown() -> bool:
    """Tells whether there is a run for artifacts to belong to."""
    return FlowRunContext.get() is not None or TaskRunContext.get() is not None


def key_of(out: str, what: str) -> str:
    """Names an artifact of a run folder, the same in every run there, so that the UI keeps its history."""
    where = out.rstrip("/") if is_url(out) else str(Path(out).resolve())
    owner = None if is_url(out) else RunFolder(Path(where)).owner
    name = where.rpartition("/")[2]
    digest = hashlib.sha256(where.encode()).hexdigest()
    return artifact_key(f"{owner.root.name}-{name}" if owner else name, digest, what)


def show_markdown(key: str, text: str, description: str, *, picture: str = "") -> None:
    """Shows a page; secrets in its text are masked, and `picture`, Markdown of an image, is added as it is."""
    _create("markdown", mask_secrets(text) + picture, description, key=key)


def show_table(key: str, rows: list[dict[str, Any]], description: str) -> None:
    """Shows a table, one mapping a row."""
    _create("table", mask_secrets(json.dumps(rows)), description, key=key)


class ShownProgress:
    """A progress bar in the UI, made when there is first something to tell, and never set back.

    Args:
        key: of the artifact, where it has a history, and is the whole run's; else it is the task run's.
    """

    def __init__(self, key: str | None = None) -> None:
        self.key = key
        self._artifact: UUID | None = None
        self._share = 0.0
        self._due = time.monotonic() + TELL_EVERY_S

    def tell(self, share: float, text: str, *, at_once: bool = False) -> None:
        """Shows what share of the work, 0 to 1, is done, and says so in words; left out seconds after the last time."""
        self._share = max(self._share, min(share, 1.0))
        is_end = share >= 1 and self._artifact is not None
        if time.monotonic() < self._due and not (at_once or is_end):
            return
        self._due = time.monotonic() + TELL_EVERY_S
        percent, told = round(100 * self._share, 1), mask_secrets(text)
        if self._artifact is None:
            self._artifact = _create("progress", percent, told, key=self.key)
        else:
            artifact, update = self._artifact, ArtifactUpdate(data=percent, description=told)
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
    made: Any = _ask(lambda client: client.create_artifact(artifact))
    return made.id if made else None


def _ask(call: Callable[[SyncPrefectClient], Any]) -> Any:
    """Calls the server through a client of its own, which gives up soon; returns nothing where that fails."""
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
        told = mask_secrets(f"{type(error).__name__}: {first_line(error)}")
        run_logger().warning("Prefect's server does not take what is to be shown (%s); the run goes on", told)
        return None
