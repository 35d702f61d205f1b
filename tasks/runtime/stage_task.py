"""How tasks run on Prefect: no Prefect cache (the run folder's manifest decides what is current), no hidden retries."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext

from rded_core.errors import InputError, RunStopped, StageFailed, describe_failure
from tasks.runtime.logs import mask_logs
from tasks.runtime.mirroring import FilesOf, files_of_run, in_mirror

mask_logs()  # here, since every process that runs a task comes by

RUNS_NETWORK = "runs_network"
"""Attribute of the functions of tasks that run a network."""

P = ParamSpec("P")
R = TypeVar("R")


def stage_task(
    name: str,
    run_name: str | Callable[..., str],
    *,
    runs_network: bool = False,
    files: FilesOf = files_of_run,
) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Makes a function a task of a stage.

    It has no tags: for each run of a task with tags Prefect asks its server for places under limits of their names,
    whether or not there are any, and the run waits, and then fails, where the server is away.

    Args:
        name: of the task.
        run_name: of each of its runs: what it does, to which classes of what; a template over the arguments, or a
            function of ``parameters``, them by name.
        runs_network: whether it takes a GPU where there is one.
        files: which files of the run it reads or writes, to be fetched and sent if OUT is a URL.
    """

    def make(function: Callable[P, R]) -> Task[P, R]:
        policy: dict[str, Any] = {"task_run_name": run_name, "cache_policy": NO_CACHE, "persist_result": False}
        told = _told_where(in_mirror(function, files))
        setattr(told, RUNS_NETWORK, runs_network)
        return Task(told, name=name, **policy)

    return make


def takes_gpu(task: Any) -> bool:
    """Tells whether a task runs a network, and so takes a GPU where there is one."""
    return bool(getattr(task.fn, RUNS_NETWORK, False))


def _told_where(function: Callable[P, R]) -> Callable[P, R]:
    """Lets an error that nobody foresaw say in which task run it came up, and that nothing is lost.

    Without Prefect it stays what it is.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except (InputError, RunStopped):
            raise  # these say what and where, and the remedy
        except Exception as error:  # of whatever kind: it is raised on, as the cause
            context = TaskRunContext.get()
            if context is None:
                raise
            raise StageFailed(describe_failure(context.task_run.name, error)) from error

    return call
