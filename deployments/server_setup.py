"""What `rded up` sets up on a Prefect server: a work pool, the limit on GPUs, the deployments of prefect.yaml."""

import base64
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from deployments.environment import PROJECT_ROOT
from rded_core.errors import RunStopped
from tasks.gpu_slot import GPU_LIMIT

POOL_TEMPLATE: dict[str, Any] = {
    "job_configuration": {"stream_output": True},
    "variables": {"type": "object", "properties": {}},
}
"""A process pool whose runs cannot choose a command, an environment or a folder: parameters are all that they give."""

PROBE_S = 5.0


def is_healthy(api_url: str, auth: str | None) -> bool:
    """Tells whether a server answers at an address."""
    request = urllib.request.Request(f"{api_url}/health")
    if auth:
        request.add_header("Authorization", f"Basic {base64.b64encode(auth.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=PROBE_S) as answer:
            return answer.status == 200
    except (OSError, urllib.error.URLError):
        return False


@contextmanager
def client_of(api_url: str, auth: str | None) -> Generator[Any]:
    """Yields Prefect's client of a server."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    with (
        temporary_settings({PREFECT_API_URL: api_url, PREFECT_API_AUTH_STRING: auth}),
        get_client(sync_client=True) as client,
    ):
        yield client


def create_pool(client: Any, name: str) -> None:
    """Creates a work pool of processes, unless there is one of that name, and the limit on GPUs.

    What the operator changed of them stays.
    """
    from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

    with suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=POOL_TEMPLATE))
    try:
        client.read_global_concurrency_limit_by_name(GPU_LIMIT)
    except ObjectNotFound:
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=GPU_LIMIT, limit=1))


def apply_deployments(environment: Mapping[str, str], log: Path) -> None:
    """Applies prefect.yaml; schedules that are there stay.

    Raises:
        RunStopped: Prefect refuses it.
    """
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    with log.open("ab") as stream:
        done = subprocess.run(
            command, cwd=PROJECT_ROOT, env=dict(environment), stdin=subprocess.DEVNULL, stdout=stream,
            stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
    if done.returncode:
        raise RunStopped(f"the deployments of prefect.yaml could not be applied (exit {done.returncode})")


def deployment_names(client: Any, pool: str) -> list[str]:
    """Returns the deployments of a work pool, each as ``prefect deployment run`` names it."""
    from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName

    found = client.read_deployments(work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])))
    flows = {each.flow_id: client.read_flow(each.flow_id).name for each in found}
    return sorted(f"{flows[each.flow_id]}/{each.name}" for each in found)


def is_online(client: Any, pool: str, worker: str) -> bool:
    """Tells whether a worker of that name asks a work pool for runs."""
    from prefect.client.schemas.objects import WorkerStatus

    workers = client.read_workers_for_work_pool(pool)
    return any(each.name == worker and each.status == WorkerStatus.ONLINE for each in workers)


WORKER_LABEL = "prefect.worker.name"


def runs_under_way(client: Any, worker: str) -> list[Any]:
    """Returns the runs that a worker has begun and that have not ended, with the runs inside them."""
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
    """Has the server know that runs have ended with the worker that had begun them, and returns how many.

    Nobody else would, and they would hold their places under the deployments' limits.

    Args:
        client: of the server.
        worker: name of the worker, which is no more, nor are the processes of its runs.
        by_hand: somebody stopped them, and they are cancelled; else they have crashed, and may begin again.
    """
    from prefect.states import Cancelled, Crashed

    runs = runs_under_way(client, worker)
    for run in runs:
        state = Cancelled(message="stopped by rded down") if by_hand else Crashed(message="its worker has ended")
        client.set_flow_run_state(run.id, state, force=True)
    return len(runs)
