"""What Prefect's UI shows of a finished run: a table of the classes, a page with a picture, a table of accuracies."""

import base64
from collections.abc import Iterable
from typing import Any

from rded_core.errors import InputError, first_line
from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.lineage.tables import read_scores
from rded_core.io.remote.places import as_shown
from rded_core.io.report.pictures import shrink_jpeg
from rded_core.text.summaries import accuracy_rows, class_rows, describe_evaluation, distilled_markdown
from rded_core.text.wording import STAGE_WORDS
from tasks.publish.classes import ClassPatches, class_entries
from tasks.publish.results import StageResults
from tasks.run.plan import RunPlan
from tasks.run.results import StageResult
from tasks.runtime.artifacts import is_shown, key_of, show_markdown, show_table
from tasks.runtime.logs import run_logger
from tasks.runtime.run_progress import end_progress
from tasks.training.results import EvaluationPlan

MAX_PICTURE_BYTES = 200_000
"""A picture is kept in Prefect's database, a third larger than it is."""


def show_distilled(plan: RunPlan, results: StageResults, record: dict[str, Any]) -> None:
    """Shows what a distillation made, class by class and as a whole; without Prefect it does nothing."""
    if not is_shown():
        return
    try:
        _show_distilled(plan, results, record)
    except (OSError, InputError) as error:  # what is done is done, whatever is the matter with its picture
        run_logger().warning("what was made cannot be shown: %s", first_line(error))
    end_progress(plan)


def _show_distilled(plan: RunPlan, results: StageResults, record: dict[str, Any]) -> None:
    config = plan.config
    title = f"{config.short_name}, {config.selection}, ipc {config.ipc}"
    picture = ""
    if record["dataset"] is not None:
        folder = DatasetFolder(plan.run.dataset)
        show_table(key_of(config.out, "classes"), _rows(plan, results, folder), f"{title}: the classes")
        picture = _picture(folder)
    show_markdown(key_of(config.out, "summary"), distilled_markdown(title, record), title, picture=picture)


def show_evaluation(plan: EvaluationPlan, table: dict[str, Any]) -> None:
    """Shows the accuracies of an evaluation beside those of its controls; without Prefect it does nothing."""
    if is_shown():
        show_table(key_of(as_shown(plan.run.root), "accuracy"), accuracy_rows(table), describe_evaluation(table))


def _rows(plan: RunPlan, results: StageResults, folder: DatasetFolder) -> list[dict[str, Any]]:
    scores = read_scores(folder)
    found = {label.index: ClassPatches() for label in plan.classes}
    for index, patches in scores.items():
        known = [score for _, score in patches if score is not None]
        found[index] = ClassPatches(len({key for key, _ in patches}), known)
    entries = class_entries(plan, [*results.candidates, *results.scores, *results.images], found)
    best = {index: max(patches.scores) for index, patches in found.items() if patches.scores}
    by_class = (plan.index, *results.candidates, *results.scores, *results.selected, *results.images)
    return class_rows(entries, best, {label.index: _work_on(label.index, by_class) for label in plan.classes})


def _work_on(index: int, results: Iterable[StageResult]) -> tuple[float, list[str]]:
    """Returns the seconds that a class took in this run, and the stages that were made for it."""
    done = [(result.stage, found) for result in results if (found := result.units.get(index))]
    made = [STAGE_WORDS[stage] for stage, found in done if found.reason]
    return sum((found.seconds for _, found in done), 0.0), made


def _picture(folder: DatasetFolder) -> str:
    """Returns the report's picture inside Markdown: Prefect's server cannot serve a file of the run."""
    data = base64.b64encode(shrink_jpeg(folder.mosaics.read_bytes(), MAX_PICTURE_BYTES)).decode()
    return f"\n\n## Images\n\n![distilled images, one class per row](data:image/jpeg;base64,{data})\n"
