"""Prefect's settings for runs from the command line, set before Prefect is imported."""

import logging
import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from rded_core.errors import InputError, RunStopped

LOG_FORMAT = "%(asctime)s  %(message)s"

ENDED_WELL = ("Finished in state Completed", "Finished in state Cached")

PROJECT_ROOT = Path(__file__).resolve().parent.parent


def prepare_environment() -> None:
    """Sets defaults that let flows run without any set-up; everything that the user configured stays.

    A Prefect home that exists (or is named) is used, with its profile and server. Otherwise Prefect keeps its files in
    the project folder and starts its own local server, with enough time for a first start.
    """
    if "PREFECT_HOME" not in os.environ and not (Path.home() / ".prefect" / "profiles.toml").exists():
        os.environ["PREFECT_HOME"] = str(PROJECT_ROOT / ".prefect")
    defaults = {
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        "DO_NOT_TRACK": "1",
        "DASK_LOGGING__DISTRIBUTED": "warning",
        "PYTHONWARNINGS": "ignore:resource_tracker:UserWarning",  # a killed worker's semaphores are removed
        "PREFECT_LOGGING_EXTRA_LOGGERS": "rded_core",
        "PREFECT_LOGGING_FORMATTERS_STANDARD_FLOW_RUN_FMT": LOG_FORMAT,
        "PREFECT_LOGGING_FORMATTERS_STANDARD_TASK_RUN_FMT": LOG_FORMAT,
        # Records of finished task runs, batched so that none is lost when many finish at once.
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "500",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "500",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def announce_start() -> None:
    """Prints that Prefect is starting its own server, which takes a while; nothing if a server is named."""
    if not os.environ.get("PREFECT_API_URL"):
        print("starting Prefect with a local server (a few seconds) ...", file=sys.stderr, flush=True)


@contextmanager
def server_for_workers(kind: str) -> Generator[None]:
    """Points worker processes to Prefect's temporary server while a block runs; else each would start its own."""
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import PREFECT_API_URL, temporary_settings

    if kind == "thread" or PREFECT_API_URL.value():
        yield
        return
    server = SubprocessASGIServer()
    server.start()
    with temporary_settings({PREFECT_API_URL: server.api_url}):
        yield


def stop_on_interrupt(message: str, exit_code: int) -> None:
    """Makes Ctrl-C and SIGTERM end the process at once, with one line and `exit_code` (143 for SIGTERM).

    In a terminal the signal also ends Prefect's temporary server, and Prefect would try for minutes to report to it.
    Files are either complete or absent, so nothing is lost.
    """

    def stop(number: int, _frame: object) -> None:
        # Nothing may be imported here: the signal can come in the middle of Prefect's own import.
        servers = getattr(sys.modules.get("prefect.server.api.server"), "SubprocessASGIServer", None)
        for server in list(getattr(servers, "_instances", {}).values()):
            if server.server_process:
                server.server_process.terminate()
        print(message, file=sys.stderr, flush=True)
        os._exit(exit_code if number == signal.SIGINT else 128 + number)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)


def tidy_logs() -> None:
    """Hides log lines that do not help in a terminal: completed states, and tracebacks of a user's mistake.

    The command line reports a mistake in one line of its own. State changes stay visible in Prefect's UI.
    """
    for name in ("prefect.flow_runs", "prefect.task_runs", "prefect.engine"):
        logging.getLogger(name).addFilter(_is_worth_a_line)


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    if record.exc_info and isinstance(record.exc_info[1], InputError | RunStopped):
        return False
    message = record.getMessage()
    if "aborted by a termination signal" in message:  # the command line says what to do about it
        return False
    is_mistake = any(error.__name__ in message for error in (InputError, RunStopped))
    return not is_mistake and not message.startswith(ENDED_WELL)
