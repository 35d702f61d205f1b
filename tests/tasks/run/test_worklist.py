"""Units of work: done once for given inputs, never half, and redone only for a stated reason."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rded_core.io.layout.run import RunFolder
from rded_core.io.run.records import NEW
from tasks.run.results import Done, StageResult
from tasks.run.worklist import Scope, Unit, Worklist, run_unit


class _Work:
    """Counts how often it runs, and writes the count into its output file."""

    def __init__(self, root: Path) -> None:
        run = RunFolder(root)
        self.times, self.output = 0, run.table("stage", "unit")
        self.unit = Unit(run, "stage", "unit", {"n": 1}, {"data": "a"}, (self.output,))

    def __call__(self, scope: Scope = Scope(), why: str = "", **changes: Any) -> Done | None:  # noqa: B008
        return run_unit(replace(self.unit, **changes), self._produce, scope=scope, why=why)

    def _produce(self) -> dict[str, Any]:
        self.times += 1
        self.output.parent.mkdir(parents=True, exist_ok=True)
        self.output.write_text(f"time {self.times}")
        return {"kept": self.times}


@pytest.fixture
def work(tmp_path: Path) -> _Work:
    return _Work(tmp_path)


def _reason(done: Done | None) -> str:
    assert done is not None
    return done.reason


def test_same_inputs_are_done_once(work: _Work) -> None:
    assert _reason(work()) == NEW
    assert _reason(work()) == ""
    assert work.times == 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"settings": {"n": 2}}, "n 1 -> 2"),
        ({"settings": {}}, "n 1 -> None"),
        ({"settings": {"n": 1, "per_class": 2}}, "images checked per class None -> 2"),
        ({"upstream": {"data": "b"}}, "data changed"),
        ({"upstream": {}}, "inputs changed"),
        ({"still_true": lambda record: f"only {record.facts['kept']} kept"}, "only 1 kept"),
    ],
)
def test_changed_inputs_are_redone(work: _Work, changes: dict[str, Any], expected: str) -> None:
    work()
    assert _reason(work(**changes)) == expected
    assert work.times == 2


def test_reason_of_the_previous_stage_is_preferred(work: _Work) -> None:
    work()
    assert _reason(work(upstream={"data": "b"}, why="3 new images")) == "3 new images"
    assert _reason(work(upstream={"data": "b"}, settings={"n": 2}, why="3 new images")) == "n 1 -> 2"


def _overwrite(path: Path) -> None:
    path.write_text("other bytes")


@pytest.mark.parametrize(("damage", "expected"), [(Path.unlink, "output missing"), (_overwrite, "output damaged")])
def test_lost_or_changed_output_is_remade(work: _Work, damage: Callable[[Path], None], expected: str) -> None:
    work()
    damage(work.output)
    assert _reason(work()) == expected
    assert work.output.read_text() == "time 2"


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"stage": "stage"'])
def test_damaged_record_is_remade(work: _Work, text: str) -> None:
    work()
    work.unit.path.write_text(text)
    assert _reason(work()) == "record damaged"


def test_requested_unit_is_redone(work: _Work) -> None:
    work()
    assert _reason(work(Scope(redo=True))) == "asked for"
    assert _reason(work()) == ""


def test_frozen_unit_is_left_unchanged(work: _Work) -> None:
    frozen = Scope(frozen=True)
    assert work(frozen) is None, "nothing exists yet"
    first = work()
    assert first is not None
    unchanged = work(frozen, upstream={"data": "b"})
    assert unchanged is not None and unchanged.record == first.record and not unchanged.reason
    assert work(frozen, settings={"n": 2}) is None, "it was made under other settings"
    work.output.unlink()
    assert work(frozen) is None
    assert work.times == 1


def test_failure_leaves_no_record(work: _Work) -> None:
    def fail() -> dict[str, Any]:
        work.output.parent.mkdir(parents=True)
        work.output.write_text("half")
        raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        run_unit(work.unit, fail)
    assert not work.unit.path.exists()


def test_worklist_makes_stale_units_and_skips_impossible_ones(work: _Work) -> None:
    work()
    other = replace(work.unit, name="other", outputs=())
    todo = Worklist({0: work.unit, 1: other, 2: None}, workers=2)
    assert todo.stale == {1: NEW}
    todo.finish(1, {"seen": 1})
    result = todo.result("stage")
    assert isinstance(result, StageResult), "outside Prefect a task returns what it did"
    assert sorted(result.records) == [0, 1]
    assert (result.units[2], result.why(0), result.why(1), result.why(2)) == (None, "", NEW, "")


def test_only_counts_are_logged_as_counts(work: _Work, caplog: pytest.LogCaptureFixture) -> None:
    facts = {"views": 6, "reused_views": 2, "best_epoch": 280, "exact_ranks": 40, "rejected": [["truncated", "u"]]}
    with caplog.at_level("INFO", logger="rded"):
        todo = Worklist({0: replace(work.unit, outputs=())})
        todo.finish(0, facts)
        todo.result("soft_labels")
    assert "label: 1 made: 6 views, 2 views reused, 1 rejected (truncated), " in caplog.text
    assert "280" not in caplog.text
