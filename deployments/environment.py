"""Prefect's settings for a run from the command line, set before Prefect is imported."""

import logging
import os
from pathlib import Path

from rded_core.errors import InputError

PROJECT_ROOT = Path(__file__).resolve().parent.parent


def prepare_environment() -> None:
    """Lets flows run without any set-up, and leaves everything that the user configured as it is.

    A Prefect home that exists (or is named) is used, with its profile and server. Otherwise Prefect keeps its files in
    the project folder, and starts its own local server with time enough for a first start.
    """
    if "PREFECT_HOME" not in os.environ and not (Path.home() / ".prefect" / "profiles.toml").exists():
        os.environ["PREFECT_HOME"] = str(PROJECT_ROOT / ".prefect")
    defaults = {
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        "DO_NOT_TRACK": "1",
        # Rows of finished task runs, batched so that none is lost when many finish at once.
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "500",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "500",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def quiet_user_errors() -> None:
    """Keeps Prefect from logging a traceback for a user's mistake, which the command line reports in one line."""
    for name in ("prefect.flow_runs", "prefect.task_runs", "prefect.engine"):
        logging.getLogger(name).addFilter(_is_no_user_error)


def _is_no_user_error(record: logging.LogRecord) -> bool:
    if record.exc_info and isinstance(record.exc_info[1], InputError):
        return False
    return "InputError(" not in record.getMessage()
