"""What a run reused and what it made, and why, for people."""

from collections import Counter
from typing import Any

from tasks.prepare import RunPlan
from tasks.units import STAGE_WORDS, StageResult


def describe_work(plan: RunPlan, results: list[StageResult]) -> list[dict[str, Any]]:
    """Returns, for each stage in order, how many units were reused, made and left out, and the reasons with counts."""
    work: dict[str, dict[str, Any]] = {}
    for result in (plan.index, *results):
        entry = work.setdefault(
            result.stage,
            {"stage": STAGE_WORDS[result.stage], "reused": 0, "made": 0, "left_out": 0, "why": Counter[str]()},
        )
        for done in result.units.values():
            if done is None:
                entry["left_out"] += 1
            elif done.reason:
                entry["made"] += 1
                entry["why"][done.reason] += 1
            else:
                entry["reused"] += 1
    return [{**entry, "why": dict(entry["why"].most_common())} for entry in work.values()]
