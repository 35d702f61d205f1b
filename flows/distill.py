"""Distil a source: draw candidates, score, select, tile, label, publish."""

from typing import Any

from prefect import flow

from rded_core.config import DistillConfig
from tasks.candidates import draw_candidates
from tasks.observe import check_network
from tasks.prepare import prepare
from tasks.publish import StageRecords, publish
from tasks.realism import score_crops
from tasks.selection import select
from tasks.soft_labels import label_blocks, label_views
from tasks.squeeze import tile


@flow(name="distill", flow_run_name="{config.selection} of {config.source} at ipc {config.ipc}")
def distill(config: DistillConfig) -> dict[str, Any]:
    """Distils a source into ``OUT/dataset`` and returns its summary; run again, it goes on where it stopped."""
    plan = prepare(config)
    candidates = [draw_candidates(plan, shard) for shard in plan.shards]
    observer = check_network(plan, "observer", candidates)
    if plan.teacher != plan.observer:
        check_network(plan, "teacher", candidates)
    scores = [score_crops(plan, shard, record) for shard, record in zip(plan.shards, candidates, strict=True)]
    selected = [select(plan, shard, record) for shard, record in zip(plan.shards, scores, strict=True)]
    images = [tile(plan, shard, record) for shard, record in zip(plan.shards, selected, strict=True)]
    for block in label_blocks(config):
        label_views(plan, block, images)
    return publish(plan, StageRecords(candidates, scores, observer))
