"""Task runs, single or one for each class shard, on any engine that the flow runs on."""

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

    They run one after another in this process, since each task keeps all cores busy; on an engine with its own workers,
    all at once. Tasks that were lost with their worker are restarted, and resume from the run folder.

    Raises:
        RunStopped: workers were lost repeatedly.
    """
    rows = list(zip(*columns, strict=True))
    runner = _find_workers()
    with watch_stage(task, plan, len(rows)) as count:
        return _here(task, plan, rows, count) if runner is None else _on_workers(runner, task, plan, rows, count)


def once(task: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a task in this process and returns its result, also if the task ended with a state."""
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
    for attempts_left in reversed(range(runner.attempts)):
        rows_left = {number: row for number, row in enumerate(rows) if number not in results}
        results |= _try_all(runner, task, plan, rows_left, partial(count, len(results)))
        lost = [row for number, row in enumerate(rows) if number not in results]
        if not lost:
            return [results[number] for number in range(len(rows))]
        if attempts_left:
            run_logger().warning("%s; restarting %d tasks", WORKERS_LOST, len(lost))
            runner.renew()
    raise RunStopped(f"{WORKERS_LOST}; run the same command again to resume it")


def _find_workers() -> Any:
    """Returns the flow's task runner if it has its own workers; None otherwise, and without Prefect."""
    context = FlowRunContext.get()
    return None if context is None or isinstance(context.task_runner, ThreadPoolTaskRunner) else context.task_runner


def _try_all(
    runner: Any, task: Any, plan: Any, rows: dict[int, tuple[Any, ...]], count: Callable[[int], None]
) -> dict[int, Any]:
    """Submits a task for all rows and returns its results by row, without those of lost workers."""
    futures = {number: task.submit(plan, *row) for number, row in rows.items()}

    def update_count() -> None:
        count(sum(runner.wait(future, 0.0) for future in futures.values()))

    results: dict[int, Any] = {}
    for number, future in futures.items():
        try:
            results[number] = _wait_for(runner, future, update_count)
        except runner.lost:
            continue
    return results


def _wait_for(runner: Any, future: Any, update_count: Callable[[], None]) -> Any:
    while not runner.wait(future, POLL_S):
        update_count()
        runner.check()
    update_count()
    return future.result()
