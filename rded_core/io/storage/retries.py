"""Faults of remote storage that pass by themselves: telling them from others, and trying again."""

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
"""Of S3's own codes those that say "later", whatever HTTP status comes with them (RequestTimeout bears 400)."""

TRANSIENT_ERRNOS = frozenset(
    getattr(errno, name)
    for name in ("EAGAIN", "EBUSY", "EHOSTUNREACH", "EIO", "ENETDOWN", "ENETUNREACH", "EREMOTEIO", "ETIMEDOUT")
    if hasattr(errno, name)
)
"""Of a URL alone: s3fs says EBUSY, EIO and EREMOTEIO for a busy server; on a local disk EIO is for good."""

TRANSIENT_NAMES = frozenset(
    {
        *("ClientConnectionError", "ClientPayloadError"),  # aiohttp
        *("ConnectionError", "HTTPClientError", "IncompleteReadError"),  # botocore
        *("ChunkedEncodingError", "Timeout", "TransportError", "IncompleteRead"),  # requests, httpx, http.client
    }
)
"""Classes, or their parents, of clients that need not be installed."""

CLIENTS = frozenset({"aiobotocore", "aiohttp", "botocore", "gcsfs", "google", "huggingface_hub"})
"""Packages whose errors, such as that of missing credentials, are no defects of ours."""

# Its own generator, never seeded: processes that failed together must not come back together.
_jitter = random.SystemRandom()


FIRST_ATTEMPTS = 2
"""Before a run: what has never answered is more likely a wrong address than a storage that is busy."""


def ask_storage(
    action: Callable[[], T], url: str, *, doing: str, answers: tuple[type[OSError], ...], attempts: int = ATTEMPTS
) -> T:
    """Runs `action` as `retry_transient` does, and tells every error of the storage in a line.

    Args:
        action: asks the storage.
        url: of what, for errors.
        doing: what the storage is asked to do, for errors: ``list``, ``read``, ``write``.
        answers: errors that the caller takes for an answer, such as FileNotFoundError; they are raised as they are.
        attempts: at most.

    Raises:
        InputError: the storage does not do it.
    """
    try:
        return retry_transient(action, url, doing=doing, attempts=attempts)
    except (InputError, *answers):
        raise
    except (OSError, ValueError, NotImplementedError, TypeError) as error:  # TypeError: a client knows no such option
        remedy = "check the address and your rights"
        raise InputError(f"cannot {doing} {url}: {first_line(error)}; {remedy}") from error


def retry_transient(action: Callable[[], T], url: str, *, doing: str = "read", attempts: int = ATTEMPTS) -> T:
    """Runs `action`, which asks the storage of `url`; where a fault passes by itself, runs it again after a wait.

    Permanent errors (gone, forbidden, wrong) are raised at once, as they are.

    Args:
        action: asks the storage.
        url: of what, for errors.
        doing: what the storage is asked to do, for errors: ``read``, ``write``.
        attempts: at most.

    Raises:
        InputError: the fault is still there after the last attempt, or the server refused in a way that has no
            exception of Python's own.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            return action()
        except Exception as error:  # clients have classes of their own, which cannot be named here
            if not is_transient(error):
                _raise_refusal(error, url, doing)
                raise
            if attempt == attempts:
                raise InputError(
                    f"cannot {doing} {url}: {_in_one_line(error)}, {attempts} times in a row; check the connection and "
                    "the storage, then start again: what is done is kept"
                ) from error
            _wait(attempt, attempts, error, url)


def _wait(attempt: int, attempts: int, error: Exception, url: str) -> None:
    wait_s = min(FIRST_WAIT_S * 2 ** (attempt - 1), LONGEST_WAIT_S) * _jitter.uniform(0.5, 1.5)
    logging.getLogger(__name__).warning(
        "%s: %s; attempt %d of %d in %.1f s", url, _in_one_line(error), attempt + 1, attempts, wait_s
    )
    sleep(wait_s)


def is_transient(error: BaseException) -> bool:
    """Tells whether a remote storage's error may pass by itself, by its causes' HTTP status, errno and class names.

    A status decides where there is one: fsspec's HTTP says FileNotFoundError for any failure, with the real one as
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
    """Finds the HTTP status in an error of aiohttp, gcsfs, requests, httpx or botocore."""
    response: Any = getattr(error, "response", None)
    if isinstance(response, dict):
        found: Any = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        places = ((error, "status"), (error, "code"), (response, "status_code"))
        found = next((value for place, name in places if (value := getattr(place, name, None)) is not None), None)
    return int(str(found)) if str(found).isdigit() else None


def _storage_code(error: BaseException) -> str | None:
    response: Any = getattr(error, "response", None)
    return response.get("Error", {}).get("Code") if isinstance(response, dict) else None


def _raise_refusal(error: Exception, url: str, doing: str) -> None:
    """Raises InputError for a refusal in a storage client's own class, which no caller could name."""
    is_clients = type(error).__module__.partition(".")[0] in CLIENTS
    if not isinstance(error, OSError | ValueError) and (http_status(error) or is_clients):
        raise InputError(
            f"cannot {doing} {url}: {_in_one_line(error)}; check the address and your credentials"
        ) from error


def _in_one_line(error: BaseException) -> str:
    return f"{type(error).__name__} {mask_secrets(' '.join(str(error).split()))[:200]}".strip()
