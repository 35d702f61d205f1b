"""What becomes of the lines that runs log, which Prefect's server stores: no secrets, and URLs in place of copies.

Errors of storage clients quote signed URLs.
"""

import logging

from rded_core.io.mirrors import as_shown
from rded_core.secrets import mask_secrets

RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs", "prefect.engine", "prefect.flows")

_plain = logging.Formatter()


def mask_logs() -> None:
    """Masks secrets in all that runs log from here on, tracebacks among it."""
    for name in RUN_LOGGERS:
        logging.getLogger(name).addFilter(mask_record)


def mask_record(record: logging.LogRecord) -> bool:
    """Masks secrets in a record, which is kept in any case."""
    message = record.getMessage()
    masked = mask_secrets(as_shown(message))
    if masked != message:
        record.msg, record.args = masked, ()
    if record.exc_info:
        record.exc_text = mask_secrets(record.exc_text or _plain.formatException(record.exc_info))
    return True
