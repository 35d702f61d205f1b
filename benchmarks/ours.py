"""The same job by this project's stages, one after another, without Prefect.

python -m benchmarks.ours JOB
"""

from benchmarks.job import Costs, Job, read_job
from rded_core.config import DistillConfig
from tasks.patches.check import check_network
from tasks.patches.draw import draw_candidates
from tasks.patches.score import score_crops
from tasks.patches.select import select
from tasks.patches.tile import tile
from tasks.run.prepare import prepare


def make_config(job: Job) -> DistillConfig:
    """Returns the job as a config, with `force`: the observer is untrained and may fail the check of its accuracy."""
    return DistillConfig(
        source=job.source,
        observer=f"rded:{job.arch}",
        weights=job.weights,
        ipc=job.ipc,
        out=job.out,
        num_candidates=job.num_candidates,
        num_crops=job.num_crops,
        factor=job.factor,
        size=job.size,
        workers=job.cores,
        device="cpu",
        force=True,
    )


def distil(job: Job, costs: Costs) -> None:
    """Runs the stages up to the stored images."""
    with costs.stage("index"):
        plan = prepare.fn(make_config(job))
    with costs.stage("candidates"):
        candidates = [draw_candidates.fn(plan, shard) for shard in plan.shards]
    with costs.stage("check"):
        check_network.fn(plan, "observer", candidates)
    with costs.stage("score"):
        scores = [score_crops.fn(plan, shard, record) for shard, record in zip(plan.shards, candidates, strict=True)]
    with costs.stage("tile"):
        stages = list(zip(plan.shards, candidates, scores, strict=True))
        for shard, drawn, scored in stages:
            tile.fn(plan, shard, drawn, scored, select.fn(plan, shard, drawn, scored))


if __name__ == "__main__":
    spent = Costs()
    distil(read_job(), spent)
    spent.print()
