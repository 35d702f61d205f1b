"""What a run's log says of an error: a user's mistake in one line, a defect with its traceback."""

import logging
from collections.abc import Iterator

import pytest
from prefect import flow

from rded_core.errors import InputError, RunStopped
from tasks.runtime.logs import RUN_LOGGERS, mask_logs, tell_in_a_line
from tasks.runtime.stage_task import stage_task


@stage_task("score", "score 0010-0019")
def _fail(error: Exception) -> None:
    raise error


@flow(validate_parameters=False)
def _run(error: Exception) -> None:
    _fail(error)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """All that runs log, as a page shows it, one entry a record; other tests may have tidied a terminal's log."""
    for name in RUN_LOGGERS:
        monkeypatch.setattr(logging.getLogger(name), "filters", [])
    mask_logs()
    shown: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: shown.append(handler.format(record))
    for name in RUN_LOGGERS:
        logging.getLogger(name).addHandler(handler)
    yield shown
    for name in RUN_LOGGERS:
        logging.getLogger(name).removeHandler(handler)


@pytest.mark.usefixtures("prefect_harness")
@pytest.mark.parametrize("kind", [InputError, RunStopped])
def test_a_mistake_is_told_once_without_a_traceback(kind: type[Exception], lines: list[str]) -> None:
    with pytest.raises(kind):
        _run(kind("no such folder: photos; give one that exists"))
    told = [line for line in lines if not line.startswith(("Beginning", "View at"))]
    assert told[0] == f"{kind.__name__}: no such folder: photos; give one that exists"
    assert all(line.startswith("Finished in state Failed(") for line in told[1:]), told
    assert len(told) == 3


@pytest.mark.usefixtures("prefect_harness")
def test_a_defect_keeps_its_traceback(lines: list[str]) -> None:
    with pytest.raises(RuntimeError):
        _run(ZeroDivisionError("a defect"))
    assert any("Traceback" in line and "ZeroDivisionError: a defect" in line for line in lines)


def test_two_mistakes_of_the_same_words_are_two() -> None:
    def is_kept(error: Exception) -> bool:
        return tell_in_a_line(logging.LogRecord("", logging.ERROR, "", 0, "", (), (type(error), error, None)))

    first, second = InputError("ipc"), InputError("ipc")
    assert [is_kept(each) for each in (first, second, first)] == [True, True, False]
