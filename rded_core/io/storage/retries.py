"""Retries of requests to remote storage: which errors are transient, and how long to wait."""

import errno
import logging
import random
from collections.abc import Callable, Iterator
from time import sleep
from typing import Any, TypeVar

from rded_core.errors import InputError, first_line
from rded_core.text.secrets import mask_secrets

T = TypeVar("T")

ATTEMPTS = 5
FIRST_WAIT_S = 2.0
LONGEST_WAIT_S = 16.0
"""Waits double from the first up to the longest; five attempts wait 45 s at most, jitter included."""

TRANSIENT_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
TRANSIENT_CODES = frozenset({"InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown", "Throttling"})
"""S3 error codes that mean "try later", regardless of their HTTP status (RequestTimeout comes with 400)."""

TRANSIENT_ERRNOS = frozenset(
    getattr(errno, name)
    for name in ("EAGAIN", "EBUSY", "EHOSTUNREACH", "EIO", "ENETDOWN", "ENETUNREACH", "EREMOTEIO", "ETIMEDOUT")
    if hasattr(errno, name)
)
"""For URLs only: s3fs raises EBUSY, EIO and EREMOTEIO for a busy server; on a local disk EIO is permanent."""

TRANSIENT_NAMES = frozenset(
    {
        *("ClientConnectionError", "ClientPayloadError"),  # aiohttp
        *("ConnectionError", "HTTPClientError", "IncompleteReadError"),  # botocore
        *("ChunkedEncodingError", "Timeout", "TransportError", "IncompleteRead"),  # requests, httpx, http.client
    }
)
"""Names of error classes, or of their base classes, from clients that need not be installed."""

CLIENTS = frozenset({"aiobotocore", "aiohttp", "botocore", "gcsfs", "google", "huggingface_hub"})
"""Packages whose errors, such as missing credentials, are not bugs of rded."""

# Its own generator, never seeded: processes that failed together must not retry together.
_jitter = random.SystemRandom()


FIRST_ATTEMPTS = 2
"""Attempts before a run: a storage that has never answered is more likely a wrong address than a busy server."""


def ask_storage(
    action: Callable[[], T], url: str, *, doing: str, answers: tuple[type[OSError], ...], attempts: int = ATTEMPTS
) -> T:
    """Runs `action` as `retry_transient` does, and raises every storage error as a one-line InputError.

    Args:
        action: the request to the storage.
        url: of the file or folder, for error messages.
        doing: verb for error messages: ``list``, ``read``, ``write``.
        answers: errors that the caller handles as an answer, such as FileNotFoundError; raised unchanged.
        attempts: maximum number of attempts.

    Raises:
        InputError: the request failed or was refused.
    """
    try:
        return retry_transient(action, url, doing=doing, attempts=attempts)
    except (InputError, *answers):
        raise
    except (OSError, ValueError, NotImplementedError, TypeError) as error:  # TypeError: a client without this option
        remedy = "check the address and your permissions"
        raise InputError(f"cannot {doing} {url}: {first_line(error)}; {remedy}") from error


def retry_transient(action: Callable[[], T], url: str, *, doing: str = "read", attempts: int = ATTEMPTS) -> T:
    """Runs `action`, a request to the storage of `url`; after a transient error, waits and runs it again.

    Permanent errors (missing, forbidden, invalid) are raised at once and unchanged.

    Args:
        action: the request to the storage.
        url: of the file or folder, for error messages.
        doing: verb for error messages: ``read``, ``write``.
        attempts: maximum number of attempts.

    Raises:
        InputError: the error persists after the last attempt, or the server refused in a way that has no built-in
            exception.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            return action()
        except Exception as error:  # clients raise classes of their own, which cannot be named here
            if not is_transient(error):
                _raise_refusal(error, url, doing)
                raise
            if attempt == attempts:
                raise InputError(
                    f"cannot {doing} {url}: {_in_one_line(error)}, {attempts} times in a row; check the connection and "
                    "the storage, then run again: finished work is kept"
                ) from error
            _wait(attempt, attempts, error, url)


def _wait(attempt: int, attempts: int, error: Exception, url: str) -> None:
    wait_s = min(FIRST_WAIT_S * 2 ** (attempt - 1), LONGEST_WAIT_S) * _jitter.uniform(0.5, 1.5)
    logging.getLogger(__name__).warning(
        "%s: %s; attempt %d of %d in %.1f s", url, _in_one_line(error), attempt + 1, attempts, wait_s
    )
    sleep(wait_s)


def is_transient(error: BaseException) -> bool:
    """Returns True if a storage error is transient, judged by the HTTP status, errno and class names of its causes.

    An HTTP status takes precedence: fsspec's HTTP raises FileNotFoundError for any failure, with the real error as
    its cause.
    """
    chain = list(_causes(error))
    if any(isinstance(cause, InputError) for cause in chain):
        return False
    if any(_storage_code(cause) in TRANSIENT_CODES for cause in chain):
        return True
    statuses = [status for cause in chain if (status := http_status(cause)) is not None]
    return statuses[0] in TRANSIENT_STATUSES if statuses else any(map(_is_transient_alone, chain))


def _is_transient_alone(error: BaseException) -> bool:
    if isinstance(error, TimeoutError | ConnectionError | EOFError):
        return True
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & TRANSIENT_NAMES) or (isinstance(error, OSError) and error.errno in TRANSIENT_ERRNOS)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def http_status(error: BaseException) -> int | None:
    """Returns the HTTP status of an error of aiohttp, gcsfs, requests, httpx or botocore; None if it has none."""
    response: Any = getattr(error, "response", None)
    if isinstance(response, dict):
        status: Any = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        places = ((error, "status"), (error, "code"), (response, "status_code"))
        status = next((value for place, name in places if (value := getattr(place, name, None)) is not None), None)
    return int(str(status)) if str(status).isdigit() else None


def _storage_code(error: BaseException) -> str | None:
    response: Any = getattr(error, "response", None)
    return response.get("Error", {}).get("Code") if isinstance(response, dict) else None


def _raise_refusal(error: Exception, url: str, doing: str) -> None:
    """Raises InputError for a refusal in a storage client's own error class, which callers cannot name."""
    is_clients = type(error).__module__.partition(".")[0] in CLIENTS
    if not isinstance(error, OSError | ValueError) and (http_status(error) or is_clients):
        raise InputError(
            f"cannot {doing} {url}: {_in_one_line(error)}; check the address and your credentials"
        ) from error


def _in_one_line(error: BaseException) -> str:
    return f"{type(error).__name__} {mask_secrets(' '.join(str(error).split()))[:200]}".strip()
