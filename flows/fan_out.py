"""Task runs, one by one or one for each class shard, on whatever engine the flow runs on."""

from collections.abc import Callable, Sequence
from typing import Any

from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.task_runners import ThreadPoolTaskRunner


def one(task: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a task and returns its result, also where it ended in a state of its own (``Cached``)."""
    returned = task(*arguments)
    return returned.result() if isinstance(returned, State) else returned


def each(task: Callable[..., Any], plan: Any, *columns: Sequence[Any]) -> list[Any]:
    """Calls a task with the plan and one entry of every column, for all entries; returns the results in order.

    In this process one after the other, since each task keeps all cores busy itself; on an engine with workers of its
    own all at once.
    """
    submit = getattr(task, "submit", None)
    rows = list(zip(*columns, strict=True))
    if submit is None or not _has_workers():
        return [one(task, plan, *row) for row in rows]
    futures = [submit(plan, *row) for row in rows]
    return [future.result() for future in futures]


def _has_workers() -> bool:
    context = FlowRunContext.get()
    return context is not None and not isinstance(context.task_runner, ThreadPoolTaskRunner)
