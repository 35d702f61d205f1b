"""Stages as Prefect tasks: no Prefect cache (the run folder's manifest decides what is current), no hidden retries."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext

from rded_core.errors import InputError, RunStopped, StageFailed, describe_failure
from tasks.runtime.logs import mask_logs
from tasks.runtime.mirroring import FilesOf, files_of_run, in_mirror

mask_logs()  # here, because every process that runs a task imports this module

RUNS_NETWORK = "runs_network"
"""Attribute of a task's function: whether it runs a network."""

P = ParamSpec("P")
R = TypeVar("R")


def stage_task(
    name: str,
    run_name: str | Callable[..., str],
    *,
    runs_network: bool = False,
    files: FilesOf = files_of_run,
) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Turns a function into the Prefect task of a stage.

    The task has no tags: for each run of a tagged task Prefect asks its server for slots under limits of those names,
    whether or not such limits exist; if the server is away, the run waits and then fails.

    Args:
        name: name of the task.
        run_name: name of each of its runs: what it does, to which classes of which source. A template over the
            arguments, or a function of ``parameters``, the arguments by name.
        runs_network: whether the task uses a GPU if there is one.
        files: picks the files of the run that the task reads or writes, which are fetched and sent if OUT is a URL.
    """

    def make(function: Callable[P, R]) -> Task[P, R]:
        policy: dict[str, Any] = {"task_run_name": run_name, "cache_policy": NO_CACHE, "persist_result": False}
        wrapped = _with_failure_message(in_mirror(function, files))
        setattr(wrapped, RUNS_NETWORK, runs_network)
        return Task(wrapped, name=name, **policy)

    return make


def takes_gpu(task: Any) -> bool:
    """Whether a task runs a network, and so uses a GPU if there is one."""
    return bool(getattr(task.fn, RUNS_NETWORK, False))


def _with_failure_message(function: Callable[P, R]) -> Callable[P, R]:
    """Raises an unexpected error as `StageFailed`, which names the task run and says that nothing is lost.

    Without Prefect the error is unchanged.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except (InputError, RunStopped):
            raise  # these already name the problem and its remedy
        except Exception as error:  # of any kind: raised on as the cause
            context = TaskRunContext.get()
            if context is None:
                raise
            raise StageFailed(describe_failure(context.task_run.name, error)) from error

    return call
