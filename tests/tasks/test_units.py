"""Units of work: done once for given inputs, and never half."""

from pathlib import Path
from typing import Any

import pytest

from rded_core.io.manifest import Record
from rded_core.io.paths import RunFolder
from tasks.units import run_unit


class _Work:
    """Counts how often it is done; the file says which time."""

    def __init__(self, root: Path) -> None:
        self.run, self.times = RunFolder(root), 0
        self.output = self.run.table("stage", "unit")

    def __call__(self, **changes: Any) -> Record:
        given: dict[str, Any] = {"settings": {"n": 1}, "upstream": ["a"], **changes}
        return run_unit(self.run, "stage", "unit", outputs=[self.output], produce=self._produce, **given)

    def _produce(self) -> dict[str, Any]:
        self.times += 1
        self.output.parent.mkdir(parents=True, exist_ok=True)
        self.output.write_text(f"time {self.times}")
        return {"kept": self.times}


@pytest.fixture
def work(tmp_path: Path) -> _Work:
    return _Work(tmp_path)


def test_same_inputs_are_done_once(work: _Work) -> None:
    assert work() == work()
    assert work.times == 1


@pytest.mark.parametrize("changes", [{"settings": {"n": 2}}, {"settings": {}}, {"upstream": ["b"]}, {"upstream": []}])
def test_other_inputs_are_done_again(work: _Work, changes: dict[str, Any]) -> None:
    first = work()
    assert work(**changes).facts == {"kept": 2}
    assert work(**changes).inputs != first.inputs
    assert work.times == 2


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("other bytes")])
def test_lost_or_changed_output_is_made_again(work: _Work, damage: Any) -> None:
    work()
    damage(work.output)
    assert work().facts == {"kept": 2}
    assert work.output.read_text() == "time 2"


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"stage": "stage"'])
def test_damaged_record_counts_as_none(work: _Work, text: str) -> None:
    work()
    work.run.record("stage", "unit").write_text(text)
    work()
    assert work.times == 2


def test_failure_leaves_no_record(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)

    def fail() -> dict[str, Any]:
        run.table("stage", "unit").parent.mkdir(parents=True)
        run.table("stage", "unit").write_text("half")
        raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        run_unit(run, "stage", "unit", settings={}, upstream=[], outputs=[run.table("stage", "unit")], produce=fail)
    assert not run.record("stage", "unit").exists()
