"""Signals that end a command: its runs are marked as ended on the server, then the process ends, with one line."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from threading import Thread
from typing import Any

from deployments.server import temporary

ENDING = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU,
)  # fmt: skip
"""Ctrl-C, a closed terminal, and what batch systems send before they kill a job."""

REPORT_S = 8.0
"""Longest time to report to the server: batch systems kill a process some 30 s after the signal."""

REQUEST_S = 3.0

REMEDY = "rerun the same command to resume"


def end_on_signals() -> None:
    """Makes each signal of `ENDING` end the process, with exit code 128 + its number, unless it is ignored (nohup).

    Files are either complete or absent, so nothing is lost. A second signal ends the process without a report.
    """
    ending = _Ending()
    for number in ENDING:
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, ending.end)


def describe_end(number: int) -> str:
    """Returns the line that is printed when a signal ends the process."""
    name = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
    return f"interrupted{name}; {REMEDY}"


class _Ending:
    """The handler of the process that made it; a process forked from it is ended as if there were none."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.is_reporting = False

    def end(self, number: int, _frame: object) -> None:
        if os.getpid() != self.process:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if not self.is_reporting:
            self.is_reporting = True
            _within(REPORT_S, number)
        temporary.close()
        with suppress(OSError):  # the terminal may be gone
            os.write(sys.stderr.fileno(), f"rded: error: {describe_end(number)}\n".encode())
        os._exit(128 + number)


def _within(seconds: float, number: int) -> None:
    """Reports the current runs as ended, for some seconds at most.

    Nothing may be imported here: the signal can come in the middle of Prefect's own import.
    """
    context = sys.modules.get("prefect.context")
    flow = getattr(context, "FlowRunContext", None)
    run = flow.get().flow_run if flow and flow.get() else None
    if run is not None:
        with suppress(RuntimeError):  # no thread can be started while the interpreter ends
            thread = Thread(target=_report, args=(run.id, number), daemon=True)
            thread.start()
            thread.join(seconds)


def _report(run_id: Any, number: int) -> None:
    """Marks a flow run, those that it belongs to and their task runs: Cancelled after Ctrl-C, else Crashed."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
    from prefect.states import Cancelled, Crashed

    state = (Cancelled if number == signal.SIGINT else Crashed)(message=describe_end(number))
    with (
        suppress(Exception),  # of any kind: the process ends either way
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
        get_client(sync_client=True, httpx_settings={"timeout": REQUEST_S}) as client,
    ):
        for each in _with_owners(client, run_id):
            client.set_flow_run_state(each, state, force=True)
            for task_run in _unfinished_tasks(client, each):
                client.set_task_run_state(task_run.id, state, force=True)


def _with_owners(client: Any, run_id: Any) -> Iterator[Any]:
    """Yields the id of a flow run, then those of the runs that called it."""
    yield run_id
    task_id = client.read_flow_run(run_id).parent_task_run_id
    if task_id and (owner := client.read_task_run(task_id).flow_run_id):
        yield from _with_owners(client, owner)


def _unfinished_tasks(client: Any, run_id: Any) -> list[Any]:
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterId,
        TaskRunFilter,
        TaskRunFilterState,
        TaskRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType

    types = TaskRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING])
    return client.read_task_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id])),
        task_run_filter=TaskRunFilter(state=TaskRunFilterState(type=types)),
    )
