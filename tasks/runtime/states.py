"""Final states of tasks and flows that changed nothing, which say so in Prefect's UI."""

from typing import Any

from prefect.context import FlowRunContext, TaskRunContext
from prefect.states import Completed

UNCHANGED = "nothing changed"


def as_cached(result: Any, *, num_current: int) -> Any:
    """Returns a task's result in a state named ``Cached``; the plain result outside a Prefect task run."""
    if TaskRunContext.get() is None:
        return result
    return Completed(name="Cached", message=f"{num_current} current", data=result)


def is_scheduled() -> bool:
    """Whether this is a run that a schedule created."""
    context = FlowRunContext.get()
    return bool(context and context.flow_run and context.flow_run.auto_scheduled)


def as_skipped(result: Any, why: str) -> Any:
    """Returns a flow's result in a completed state that says why it was skipped: no notification is sent for it.

    The state keeps its usual name: automations that wait for the end of a run know no other.
    """
    return Completed(message=f"skipped: {why}", data=result)


def as_unchanged(result: Any) -> Any:
    """Returns a flow's result in a completed state with the message `UNCHANGED`; the plain result outside a run."""
    return result if FlowRunContext.get() is None else Completed(message=UNCHANGED, data=result)
