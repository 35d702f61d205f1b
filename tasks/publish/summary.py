"""Summary of what a run reused and made, and why."""

from collections import Counter
from typing import Any

from rded_core.io.run.records import NEW
from rded_core.io.storage.files import shown_name
from rded_core.text.wording import STAGE_WORDS
from tasks.run.plan import RunPlan
from tasks.run.results import StageResult

MOST_WHYS = 3
"""Reasons that are listed one by one."""


def describe_work(plan: RunPlan, results: list[StageResult]) -> list[dict[str, Any]]:
    """Returns, for each stage in order, the numbers of units reused, made and left out, and the reasons with counts."""
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
    """Returns which classes have no images, and why: never made, made under other settings, or damaged since."""
    images = {index for result in results if result.stage == "squeeze" for index in result.records}
    missing = [label for label in plan.classes if label.index not in images]
    reasons = {index: why for result in reversed((plan.index, *results)) for index, why in result.left.items()}
    whys: dict[str, list[str]] = {}
    for label in missing:
        whys.setdefault(reasons.get(label.index, NEW), []).append(label.folder)
    ordered = sorted(whys.items(), key=lambda entry: -len(entry[1]))
    (first, *others), more = [_describe_left(*entry) for entry in ordered[:MOST_WHYS]], ordered[MOST_WHYS:]
    parts = [first.replace(" ", f" of {len(plan.classes)} classes ", 1), *others]
    parts += [f"{sum(len(folders) for _, folders in more)} for other reasons"] if more else []
    return ", ".join(parts)


def _describe_left(why: str, folders: list[str]) -> str:
    """Returns the number of some classes and the reason why they have no images: ``2 were made under ...``."""
    one = len(folders) == 1
    if why == NEW:
        return (
            f"{len(folders)} {'has' if one else 'have'} no images yet ({shown_name(folders[0])}{'' if one else ' ...'})"
        )
    if why.startswith(("output ", "record ")):
        return f"{len(folders)} {'is' if one else 'are'} not whole ({why})"
    return f"{len(folders)} {'was' if one else 'were'} made under other settings ({why})"
