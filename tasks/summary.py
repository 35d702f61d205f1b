"""What a run reused and what it made, and why, for people."""

from collections import Counter
from typing import Any

from rded_core.io.manifest import NEW
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


def describe_missing(plan: RunPlan, results: list[StageResult]) -> str:
    """Says which classes have no images, and why: never made, made under other settings, or no longer whole."""
    images = {index for result in results if result.stage == "squeeze" for index in result.records}
    missing = [label for label in plan.classes if label.index not in images]
    left = {index: why for result in reversed((plan.index, *results)) for index, why in result.left.items()}
    whys = Counter(why for label in missing if (why := left.get(label.index, NEW)) != NEW)
    if not whys:
        return f"{len(missing)} of {len(plan.classes)} classes have no images yet ({missing[0].folder} ...)"
    ((why, _),) = whys.most_common(1)
    what = "are not whole" if why.startswith(("output ", "record ")) else "were made under other settings"
    return f"{whys.total()} of {len(plan.classes)} classes {what} ({why})"
