"""Logs of runs, which Prefect's server stores: secrets (storage clients quote them) masked, mistakes in one line."""

import logging
import sys
from weakref import WeakSet

from rded_core.errors import InputError, RunStopped
from rded_core.io.remote.places import as_shown
from rded_core.text.secrets import mask_secrets

RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs", "prefect.engine", "prefect.flows")

_plain = logging.Formatter()

_logged: WeakSet[BaseException] = WeakSet()


def mask_logs() -> None:
    """Masks secrets in everything that runs log from now on, tracebacks included, and logs mistakes in one line."""
    for name in RUN_LOGGERS:
        logging.getLogger(name).addFilter(log_in_one_line)
        logging.getLogger(name).addFilter(mask_record)


def log_in_one_line(record: logging.LogRecord) -> bool:
    """Replaces the traceback of an error that explains itself by one line; drops the same error's later ones.

    Prefect logs a traceback when the task ends, another when its flow ends, and one more when the process does.
    """
    error = record.exc_info[1] if record.exc_info else None
    if not isinstance(error, InputError | RunStopped):
        return True
    is_new = error not in _logged
    _logged.add(error)
    record.msg, record.args = f"{type(error).__name__}: {error}", ()
    record.exc_info = record.exc_text = None
    return is_new


def mask_record(record: logging.LogRecord) -> bool:
    """Masks secrets in a record; always returns True, which keeps the record."""
    message = record.getMessage()
    masked = mask_secrets(as_shown(message))
    if masked != message:
        record.msg, record.args = masked, ()
    if record.exc_info:
        record.exc_text = mask_secrets(record.exc_text or _plain.formatException(record.exc_info))
    return True


def run_logger() -> "logging.Logger | logging.LoggerAdapter[logging.Logger]":
    """Returns Prefect's run logger inside a run, a plain logger outside one (tasks called undecorated).

    If Prefect was never imported there is no run, and it is not imported just to check.
    """
    if "prefect" not in sys.modules:
        return logging.getLogger("rded")
    from prefect.logging import get_run_logger

    try:
        return get_run_logger()
    except RuntimeError:
        return logging.getLogger("rded")
