"""Task runs, one by one or one for each class shard, on whatever engine the flow runs on."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.task_runners import ThreadPoolTaskRunner

from rded_core.errors import RunStopped
from tasks.runtime.logs import run_logger
from tasks.runtime.run_progress import Count, watch_stage

POLL_S = 5.0

WORKERS_LOST = "a worker process ended (killed, or out of memory?)"


def each(task: Callable[..., Any], plan: Any, *columns: Sequence[Any]) -> list[Any]:
    """Calls a task with the plan and one entry of every column, for all entries; returns the results in order.

    In this process one after the other, since each task keeps all cores busy itself; on an engine with workers of its
    own all at once. Tasks that were lost with their worker are begun again, and go on from what is in the run folder.

    Raises:
        RunStopped: workers were lost again and again.
    """
    rows = list(zip(*columns, strict=True))
    runner = _find_workers()
    with watch_stage(task, plan, len(rows)) as count:
        return _here(task, plan, rows, count) if runner is None else _on_workers(runner, task, plan, rows, count)


def once(task: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a task in this process; where it ends with a state of its own, returns what that holds."""
    with watch_stage(task, arguments[0], 1):
        return _result_of(task(*arguments))


def _result_of(result: Any) -> Any:
    return result.result() if isinstance(result, State) else result


def _here(task: Any, plan: Any, rows: Sequence[tuple[Any, ...]], count: Count) -> list[Any]:
    results: list[Any] = []
    for row in rows:
        results.append(_result_of(task(plan, *row)))
        count(len(results))
    return results


def _on_workers(runner: Any, task: Any, plan: Any, rows: Sequence[tuple[Any, ...]], count: Count) -> list[Any]:
    plan = plan.sharing_cores(runner.num_processes)
    results: dict[int, Any] = {}
    for left in reversed(range(runner.attempts)):
        left_rows = {number: row for number, row in enumerate(rows) if number not in results}
        results |= _try_all(runner, task, plan, left_rows, partial(count, len(results)))
        lost = [row for number, row in enumerate(rows) if number not in results]
        if not lost:
            return [results[number] for number in range(len(rows))]
        if left:
            run_logger().warning("%s; %d tasks are begun again", WORKERS_LOST, len(lost))
            runner.renew()
    raise RunStopped(f"{WORKERS_LOST}; the same command again goes on where it stopped")


def _find_workers() -> Any:
    """Returns the runner of the flow where it has workers of its own; nothing in a flow without Prefect."""
    context = FlowRunContext.get()
    return None if context is None or isinstance(context.task_runner, ThreadPoolTaskRunner) else context.task_runner


def _try_all(
    runner: Any, task: Any, plan: Any, rows: dict[int, tuple[Any, ...]], count: Callable[[int], None]
) -> dict[int, Any]:
    """Submits a task for all rows and returns the results that came, by row: those of lost workers do not."""
    futures = {number: task.submit(plan, *row) for number, row in rows.items()}

    def tell() -> None:
        count(sum(runner.wait(future, 0.0) for future in futures.values()))

    results: dict[int, Any] = {}
    for number, future in futures.items():
        try:
            results[number] = _wait_for(runner, future, tell)
        except runner.lost:
            continue
    return results


def _wait_for(runner: Any, future: Any, tell: Callable[[], None]) -> Any:
    while not runner.wait(future, POLL_S):
        tell()
        runner.check()
    tell()
    return future.result()
