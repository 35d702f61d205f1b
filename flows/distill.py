"""Distil a source: draw candidates, score, select, tile, label, publish."""

from typing import Any

from prefect import flow

from flows.fan_out import each, once
from flows.forms import DistillForm
from rded_core.config import Rerun
from rded_core.config.choices import RedoWord
from tasks.labels.choose import choose_labels
from tasks.labels.label import label_blocks, label_views
from tasks.labels.labeller import require_codec
from tasks.patches.check import check_network
from tasks.patches.draw import check_rejected, draw_candidates
from tasks.patches.score import score_crops
from tasks.patches.select import select
from tasks.patches.tile import tile
from tasks.publish.publish import publish
from tasks.publish.results import StageResults
from tasks.publish.show import show_distilled
from tasks.run.plan import RunPlan
from tasks.run.prepare import claim_out, prepare


@flow(name="distill", flow_run_name="distill {config.short_name} · {config.selection} · ipc {config.ipc}")
def distill(
    config: DistillForm, only_classes: list[str] | None = None, redo: list[RedoWord] | None = None
) -> dict[str, Any]:
    """Distils a source into ``OUT/dataset`` and returns its summary; a rerun does only what is missing or stale.

    Triggered on demand: by ``rded distill``, or as deployment ``distill/distill`` of ``rded up``, one run at a time.
    It has no schedule; `refresh` runs it on one. `evaluate` runs it for controls, and `repair` to remake lost files.

    Args:
        config: what to distil, and how.
        only_classes: work on these classes only, and leave the others as the last run left them; with an empty list
            only labels and dataset are brought up to date.
        redo: stages to repeat although nothing changed.
    """
    rerun = Rerun(only_classes=None if only_classes is None else tuple(only_classes), redo=tuple(redo or ()))
    with claim_out(config):
        return run_stages(prepare(config, rerun))


def run_stages(plan: RunPlan) -> dict[str, Any]:
    """Runs all stages of a prepared run, whose folder is claimed, and returns the summary of its dataset."""
    require_codec(plan)
    candidates = each(draw_candidates, plan, plan.shards)
    check_rejected(plan, candidates)
    checks = [once(check_network, plan, "observer", candidates)]
    if plan.teacher != plan.observer:
        checks.append(once(check_network, plan, "teacher", candidates))
    scores = each(score_crops, plan, plan.shards, candidates)
    check_rejected(plan, scores)
    selected = each(select, plan, plan.shards, candidates, scores)
    images = each(tile, plan, plan.shards, candidates, scores, selected)
    check_rejected(plan, scores, images)
    chosen = once(choose_labels, plan, images)
    blocks = label_blocks(chosen)
    labels = each(label_views, plan, blocks, [chosen for _ in blocks], [images for _ in blocks])
    results = StageResults(
        candidates=candidates,
        checks=checks,
        scores=scores,
        selected=selected,
        images=images,
        labels=labels,
        chosen=chosen,
    )
    record = once(publish, plan, results)
    show_distilled(plan, results, record)
    return record
