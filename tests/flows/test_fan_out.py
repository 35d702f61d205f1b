"""Fan-out on worker processes that may be lost."""

from collections.abc import Callable
from typing import Any

import pytest

from flows import fan_out
from flows.fan_out import each
from rded_core.errors import RunStopped


class _WorkerLost(Exception):
    pass


class _Plan:
    def sharing_cores(self, num_processes: int) -> tuple[str, int]:
        return ("plan", num_processes)


class _Future:
    """A future that is done at once, or never."""

    def __init__(self, call: Callable[[], Any], *, responds: bool) -> None:
        self._call, self._responds = call, responds
        self.wrapped_future = self

    def done(self) -> bool:
        return self._responds

    def result(self) -> Any:
        return self._call()


class _Runner:
    """Counts the calls of a task, and loses its workers during some of them."""

    lost, attempts, num_processes = (_WorkerLost,), 3, 2

    def __init__(self, *, lost_calls: tuple[int, ...] = (), silent_calls: tuple[int, ...] = ()) -> None:
        self.lost_calls, self.silent_calls = lost_calls, silent_calls
        self.calls: list[tuple[Any, ...]] = []
        self.renewed = 0

    def submit(self, *arguments: Any) -> _Future:
        number = len(self.calls)
        self.calls.append(arguments)

        def call() -> Any:
            if number in self.lost_calls:
                raise _WorkerLost
            return arguments[1:]

        return _Future(call, responds=number not in self.silent_calls)

    def wait(self, future: _Future, timeout_s: float) -> bool:
        del timeout_s
        return future.done()

    def check(self) -> None:
        raise _WorkerLost

    def renew(self) -> None:
        self.renewed += 1


def _run(monkeypatch: pytest.MonkeyPatch, runner: _Runner) -> list[Any]:
    monkeypatch.setattr(fan_out, "_find_workers", lambda: runner)
    return each(runner, _Plan(), "abc", [1, 2, 3])  # type: ignore[arg-type]


ALL = [("a", 1), ("b", 2), ("c", 3)]


def test_results_keep_their_order_and_tasks_know_their_share_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = _Runner()
    assert _run(monkeypatch, runner) == ALL
    assert runner.calls == [(("plan", 2), *row) for row in ALL]
    assert runner.renewed == 0


def test_only_lost_tasks_are_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = _Runner(lost_calls=(0, 2, 3))
    assert _run(monkeypatch, runner) == ALL
    assert [row[1] for row in runner.calls] == ["a", "b", "c", "a", "c", "a"]
    assert runner.renewed == 2


def test_task_that_never_responds_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = _Runner(silent_calls=(1,))
    assert _run(monkeypatch, runner) == ALL
    assert runner.renewed == 1


def test_repeated_loss_of_workers_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = _Runner(lost_calls=tuple(range(9)))
    with pytest.raises(RunStopped, match=r"a worker process ended .* run the same command again to resume"):
        _run(monkeypatch, runner)
    assert (len(runner.calls), runner.renewed) == (9, 2)


def test_error_of_a_task_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = _Runner(lost_calls=(1,))
    runner.lost = (KeyError,)
    with pytest.raises(_WorkerLost):
        _run(monkeypatch, runner)
