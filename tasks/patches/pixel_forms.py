"""A setting of stages that decode candidates, for classes with pixels that earlier versions read in another way."""

from collections.abc import Iterable

from rded_core.io.formats.pixel_forms import FORMS_VERSION
from rded_core.io.run.candidates import hold_form_read_differently
from rded_core.io.run.records import Record
from tasks.run.plan import RunPlan


def form_settings(plan: RunPlan, candidates: Iterable[tuple[int, Record]]) -> dict[str, list[int]]:
    """Returns a setting that makes older records stale; nothing if all classes are read as in version 1.

    So the records of all other classes stay current. `candidates` are class indices with the records of their draw.
    """
    contents = ((plan.unit(index), record.facts["content"]) for index, record in candidates)
    holds = any(hold_form_read_differently(plan.run, unit, content) for unit, content in contents)
    return {"pixel_forms": [FORMS_VERSION]} if holds else {}
