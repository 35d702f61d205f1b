"""Artifacts of a finished run in Prefect's UI: a table of classes, a page with a picture, a table of accuracies."""

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
"""Size limit of a picture; Prefect's database stores it a third larger."""


def show_distilled(plan: RunPlan, results: StageResults, record: dict[str, Any]) -> None:
    """Shows the result of a distillation in Prefect's UI, class by class and as a whole; a no-op without Prefect."""
    if not is_shown():
        return
    try:
        _show_distilled(plan, results, record)
    except (OSError, InputError) as error:  # the run has succeeded, even if its picture cannot be shown
        run_logger().warning("could not show the results in Prefect's UI: %s", first_line(error))
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
    """Shows the accuracies of an evaluation and its controls in Prefect's UI; a no-op without Prefect."""
    if is_shown():
        show_table(key_of(as_shown(plan.run.root), "accuracy"), accuracy_rows(table), describe_evaluation(table))


def _rows(plan: RunPlan, results: StageResults, folder: DatasetFolder) -> list[dict[str, Any]]:
    scores = read_scores(folder)
    by_index = {label.index: ClassPatches() for label in plan.classes}
    for index, patches in scores.items():
        scored = [score for _, score in patches if score is not None]
        by_index[index] = ClassPatches(len({key for key, _ in patches}), scored)
    entries = class_entries(plan, [*results.candidates, *results.scores, *results.images], by_index)
    best = {index: max(patches.scores) for index, patches in by_index.items() if patches.scores}
    by_class = (plan.index, *results.candidates, *results.scores, *results.selected, *results.images)
    return class_rows(entries, best, {label.index: _work_on(label.index, by_class) for label in plan.classes})


def _work_on(index: int, results: Iterable[StageResult]) -> tuple[float, list[str]]:
    """Returns the seconds that a class took in this run, and the stages that it was made again in."""
    done = [(result.stage, unit) for result in results if (unit := result.units.get(index))]
    made = [STAGE_WORDS[stage] for stage, unit in done if unit.reason]
    return sum((unit.seconds for _, unit in done), 0.0), made


def _picture(folder: DatasetFolder) -> str:
    """Returns Markdown with the report's picture embedded, since Prefect's server cannot serve files of the run."""
    data = base64.b64encode(shrink_jpeg(folder.mosaics.read_bytes(), MAX_PICTURE_BYTES)).decode()
    return f"\n\n## Images\n\n![distilled images, one class per row](data:image/jpeg;base64,{data})\n"
