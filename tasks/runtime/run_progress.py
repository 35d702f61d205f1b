"""Progress of a whole run: one bar in Prefect's UI, from the first stage to the last."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from uuid import UUID

from prefect.context import FlowRunContext

from rded_core.text.wording import STAGE_WORDS
from tasks.runtime.artifacts import ProgressArtifact, key_of
from tasks.runtime.progress import part_of

STAGE_SPANS = {
    "candidates": (0.0, 0.05),
    "observe": (0.05, 0.08),
    "realism": (0.08, 0.65),
    "selection": (0.65, 0.67),
    "squeeze": (0.67, 0.72),
    "choose-labels": (0.72, 0.75),
    "soft_labels": (0.75, 0.97),
    "publish": (0.97, 1.0),
}
"""Where each stage begins and ends on the bar: roughly its share of the time of a run from scratch."""

Count = Callable[..., None]
"""Receives how many task runs of a stage were done before, and how many more are done now."""


@contextmanager
def watch_stage(task: Any, plan: Any, total: int) -> Generator[Count]:
    """Moves the run's bar while a block runs a task `total` times; progress inside a task run moves it too."""
    stage = str(getattr(task, "name", ""))
    bar = _find_bar(plan) if stage in STAGE_SPANS else None
    if bar is None or not total:
        yield _ignore
        return
    first, last = STAGE_SPANS[stage]
    word = STAGE_WORDS.get(stage, "choose labels")
    done = 0

    def report(part: float, text: str) -> None:
        bar.update(first + (last - first) * (done + part) / total, text)

    def count(before: int, more: int = 0) -> None:
        nonlocal done
        done = before + more
        report(0.0, f"{word}: {done} of {total} task runs")

    with part_of(report):
        yield count


def end_progress(plan: Any) -> None:
    """Shows on the bar that the run is done."""
    if bar := _find_bar(plan):
        bar.update(1.0, "done", at_once=True)


def _ignore(before: int, more: int = 0) -> None:
    del before, more


def _find_bar(plan: Any) -> ProgressArtifact | None:
    """Returns the bar of the current flow run; None without Prefect."""
    context = FlowRunContext.get()
    return _bar_of(context.flow_run.id, key_of(plan.config.out, "progress")) if context and context.flow_run else None


@lru_cache(maxsize=4)
def _bar_of(flow_run: UUID, key: str) -> ProgressArtifact:
    del flow_run  # it keys the cache: each flow run has its own bar
    return ProgressArtifact(key)
