"""Set-up of a server by `rded up` and `rded deploy`: a work pool, the GPU limit and the deployments of prefect.yaml."""

import os
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import httpx

from deployments.environment import PROJECT_ROOT
from deployments.server.state import read_stack, server_auth
from rded_core.errors import InputError, RunStopped
from tasks.runtime.gpu_slot import GPU_LIMIT

POOL_TEMPLATE: dict[str, Any] = {
    "job_configuration": {"stream_output": True},
    "variables": {"type": "object", "properties": {}},
}
"""A process pool whose runs can set only parameters, not a command, an environment or a folder."""

PROBE_S = 5.0
REFUSED = (401, 403)


def is_healthy(api_url: str, auth: str | None) -> bool:
    """Whether a server answers at an address, asked once."""
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    with (
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
        client_of(api_url, auth, timeout_s=PROBE_S) as client,
    ):
        return client.api_healthcheck() is None


@contextmanager
def client_of(api_url: str, auth: str | None, *, timeout_s: float | None = None) -> Generator[Any]:
    """Yields Prefect's client for a server, by default with Prefect's own time-outs."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    with (
        temporary_settings({PREFECT_API_URL: api_url, PREFECT_API_AUTH_STRING: auth}),
        get_client(sync_client=True, httpx_settings={"timeout": timeout_s} if timeout_s else None) as client,
    ):
        yield client


@contextmanager
def current_server() -> Generator[Any]:
    """Yields a client for the server named in the environment, else for the one that `rded up` started.

    Raises:
        InputError: there is no server, or it refuses the password.
        RunStopped: it does not answer.
    """
    stack = read_stack()
    url = os.environ.get("PREFECT_API_URL") or (stack.api_url if stack else None)
    if url is None:
        raise InputError("no server is named; start one (rded up), or set PREFECT_API_URL")
    try:
        with client_of(url, os.environ.get("PREFECT_API_AUTH_STRING") or server_auth(os.environ)) as client:
            yield client
    except httpx.TransportError as error:
        raise RunStopped(f"no server answers at {url} ({error}); start one with rded up") from error
    except httpx.HTTPStatusError as error:
        if error.response.status_code not in REFUSED:
            raise
        raise InputError(f"the server at {url} denies access; set PREFECT_API_AUTH_STRING=USER:PASSWORD") from error


def deploy(pool: str, folder: Path) -> list[str]:
    """Creates work pool, GPU limit and deployments on the current server; returns the deployments' names.

    Args:
        pool: name of the work pool.
        folder: folder on the workers' machines that relative paths in parameters start from.

    Raises:
        InputError: there is no server, or no access to it.
        RunStopped: it does not answer, or refuses prefect.yaml.
    """
    with current_server() as client:
        create_pool(client, pool)
        named = {"PREFECT_API_URL": str(client.api_url).rstrip("/"), "RDED_WORK_POOL": pool, "RDED_FOLDER": str(folder)}
        if auth := os.environ.get("PREFECT_API_AUTH_STRING") or server_auth(os.environ):
            named["PREFECT_API_AUTH_STRING"] = auth
        apply_deployments({**os.environ, **named})
        return deployment_names(client, pool)


def create_pool(client: Any, name: str) -> None:
    """Creates a work pool of processes and the GPU limit, unless they exist.

    The operator's changes to them stay.
    """
    from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

    with suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=POOL_TEMPLATE))
    try:
        client.read_global_concurrency_limit_by_name(GPU_LIMIT)
    except ObjectNotFound:
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=GPU_LIMIT, limit=1))


def apply_deployments(environment: Mapping[str, str], log: Path | None = None) -> None:
    """Applies prefect.yaml; existing schedules stay.

    Args:
        environment: names the server, the work pool and the folder.
        log: file that Prefect's output is appended to; by default it is printed.

    Raises:
        RunStopped: Prefect refuses it.
    """
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    with log.open("ab") if log else nullcontext() as stream:
        done = subprocess.run(
            command, cwd=PROJECT_ROOT, env=dict(environment), stdin=subprocess.DEVNULL, stdout=stream,
            stderr=subprocess.STDOUT if log else None, check=False,
        )  # fmt: skip
    if done.returncode:
        raise RunStopped(f"prefect deploy failed with exit code {done.returncode}; its output says why")


def deployment_names(client: Any, pool: str) -> list[str]:
    """Returns the names of a work pool's deployments, as ``prefect deployment run`` takes them."""
    from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName

    deployments = client.read_deployments(work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])))
    flows = {each.flow_id: client.read_flow(each.flow_id).name for each in deployments}
    return sorted(f"{flows[each.flow_id]}/{each.name}" for each in deployments)


def is_online(client: Any, pool: str, worker: str) -> bool:
    """Whether a worker of that name polls a work pool for runs."""
    from prefect.client.schemas.objects import WorkerStatus

    workers = client.read_workers_for_work_pool(pool)
    return any(each.name == worker and each.status == WorkerStatus.ONLINE for each in workers)


WORKER_LABEL = "prefect.worker.name"


def runs_under_way(client: Any, worker: str) -> list[Any]:
    """Returns a worker's unfinished runs, with the runs inside them."""
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterParentFlowRunId,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType

    types = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
    under_way = FlowRunFilterState(type=FlowRunFilterStateType(any_=types))
    runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(state=under_way))
    begun = [run for run in runs if run.labels.get(WORKER_LABEL) == worker]
    if not begun:
        return []
    parents = FlowRunFilterParentFlowRunId(any_=[run.id for run in begun])
    inside = client.read_flow_runs(flow_run_filter=FlowRunFilter(state=under_way, parent_flow_run_id=parents))
    return [*begun, *inside]


def end_runs(client: Any, worker: str, *, by_hand: bool) -> int:
    """Marks the runs of a worker that has ended as ended on the server, and returns how many there are.

    Nothing else would do so, and they would keep their slots under the deployments' limits.

    Args:
        client: client of the server.
        worker: name of the worker, which has ended, as have the processes of its runs.
        by_hand: the user stopped the runs, so they are Cancelled; else they are Crashed, and may be restarted.
    """
    from prefect.states import Cancelled, Crashed

    runs = runs_under_way(client, worker)
    for run in runs:
        state = Cancelled(message="stopped by rded down") if by_hand else Crashed(message="its worker has ended")
        client.set_flow_run_state(run.id, state, force=True)
    return len(runs)
