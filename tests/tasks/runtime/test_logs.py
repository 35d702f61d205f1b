"""Errors in a run's log: a user's mistake in one line, a defect with its traceback."""

import logging
from collections.abc import Iterator

import pytest
from prefect import flow

from rded_core.errors import InputError, RunStopped
from tasks.runtime.logs import RUN_LOGGERS, log_in_one_line, mask_logs
from tasks.runtime.stage_task import stage_task


@stage_task("score", "score 0010-0019")
def _fail(error: Exception) -> None:
    raise error


@flow(validate_parameters=False)
def _run(error: Exception) -> None:
    _fail(error)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """All that runs log, formatted, one entry per record; removes filters that other tests have left."""
    for name in RUN_LOGGERS:
        monkeypatch.setattr(logging.getLogger(name), "filters", [])
    mask_logs()
    formatted: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: formatted.append(handler.format(record))
    for name in RUN_LOGGERS:
        logging.getLogger(name).addHandler(handler)
    yield formatted
    for name in RUN_LOGGERS:
        logging.getLogger(name).removeHandler(handler)


@pytest.mark.usefixtures("prefect_harness")
@pytest.mark.parametrize("kind", [InputError, RunStopped])
def test_mistake_is_logged_once_without_a_traceback(kind: type[Exception], lines: list[str]) -> None:
    with pytest.raises(kind):
        _run(kind("no such folder: photos; give one that exists"))
    messages = [line for line in lines if not line.startswith(("Beginning", "View at"))]
    assert messages[0] == f"{kind.__name__}: no such folder: photos; give one that exists"
    assert all(line.startswith("Finished in state Failed(") for line in messages[1:]), messages
    assert len(messages) == 3


@pytest.mark.usefixtures("prefect_harness")
def test_a_defect_keeps_its_traceback(lines: list[str]) -> None:
    with pytest.raises(RuntimeError):
        _run(ZeroDivisionError("a defect"))
    assert any("Traceback" in line and "ZeroDivisionError: a defect" in line for line in lines)


def test_different_errors_with_the_same_message_are_both_logged() -> None:
    def is_kept(error: Exception) -> bool:
        return log_in_one_line(logging.LogRecord("", logging.ERROR, "", 0, "", (), (type(error), error, None)))

    first, second = InputError("ipc"), InputError("ipc")
    assert [is_kept(each) for each in (first, second, first)] == [True, True, False]
