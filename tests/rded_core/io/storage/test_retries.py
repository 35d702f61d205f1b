"""Which faults of remote storage are retried, after how long, and how retries are logged."""

import errno
import logging
from typing import Any

import fsspec
import pytest

from rded_core.errors import InputError
from rded_core.io.storage import retries
from rded_core.io.storage.retries import is_transient, retry_transient

URL = "s3://bucket/f.bin"


def client_error(name: str, base: type[Exception] = Exception, **attributes: Any) -> Exception:
    """Returns an error of a client that is not installed, with the attributes it would have."""
    error = type(name, (base,), {})(f"made up by a test\nof {name}")
    for attribute, value in attributes.items():
        setattr(error, attribute, value)
    return error


def boto_error(code: str, status: int) -> Exception:
    response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return client_error("ClientError", response=response)


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


class Response:
    def __init__(self, status_code: int) -> None:
        self.status_code = status_code


TRANSIENT = [
    TimeoutError(),
    ConnectionResetError(errno.ECONNRESET, "reset"),
    ConnectionRefusedError(),
    BrokenPipeError(),
    EOFError("fewer bytes than asked for"),
    OSError(errno.ETIMEDOUT, "timed out"),
    OSError(errno.EBUSY, "SlowDown"),
    OSError(errno.EIO, "s3fs, for an unknown code"),
    fsspec.exceptions.FSTimeoutError(),
    *(client_error("ClientResponseError", status=status) for status in (408, 429, 500, 502, 503, 504)),
    *(client_error("HttpError", code=code) for code in (503, "503")),
    client_error("HfHubHTTPError", OSError, response=Response(502)),
    client_error("ServerDisconnectedError", type("ClientConnectionError", (Exception,), {})),
    *map(client_error, ("ClientPayloadError", "IncompleteReadError", "ChunkedEncodingError", "Timeout")),
    boto_error("SlowDown", 503),
    boto_error("RequestTimeout", 400),
    caused(FileNotFoundError("fsspec's HTTP, for any failure"), client_error("ClientResponseError", status=503)),
    caused(FileNotFoundError("fsspec's HTTP, for any failure"), ConnectionResetError()),
]
PERMANENT = [
    FileNotFoundError("gone"),
    PermissionError("forbidden"),
    IsADirectoryError("a folder"),
    ValueError("wrong"),
    KeyError("a defect"),
    InputError("reported already"),
    OSError(errno.EINVAL, "InvalidRange"),
    OSError(errno.ENOSPC, "full"),
    *(client_error("ClientResponseError", status=status) for status in (400, 401, 403, 404, 416, 501)),
    boto_error("AccessDenied", 403),
    caused(FileNotFoundError("gone"), client_error("ClientResponseError", status=404)),
    caused(OSError(errno.EIO, "unknown"), boto_error("NoSuchThing", 404)),
    client_error("NoCredentialsError"),
    client_error("HttpError", code="unknown"),
]


@pytest.mark.parametrize("error", TRANSIENT, ids=repr)
def test_transient_faults(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize("error", PERMANENT, ids=repr)
def test_permanent_faults(error: Exception) -> None:
    assert not is_transient(error)


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits of the retries in seconds, recorded instead of slept."""
    waited: list[float] = []
    monkeypatch.setattr(retries, "sleep", waited.append)
    return waited


def test_waits_grow_and_are_bounded(waits: list[float]) -> None:
    for _ in range(50):
        waits.clear()
        with pytest.raises(InputError):
            retry_transient(always_late, URL)
        assert [2 ** (n + 1) / 2 <= wait <= 2 ** (n + 1) * 1.5 for n, wait in enumerate(waits)] == [True] * 4
        assert sum(waits) < 60


def always_late() -> None:
    raise TimeoutError("late")


def test_each_retry_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    ahead: list[Exception] = [ConnectionResetError("two\nlines"), TimeoutError()]

    def late() -> str:
        if ahead:
            raise ahead.pop(0)
        return "here"

    with caplog.at_level(logging.WARNING, logger=retries.__name__):
        assert retry_transient(late, URL) == "here"
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith(f"{URL}: ConnectionResetError two lines; attempt 2 of 5 in ")
    assert second.startswith(f"{URL}: TimeoutError; attempt 3 of 5 in ")
