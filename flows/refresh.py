"""Refresh a dataset: distil again what has changed since the last run; if nothing has, say so and end."""

from typing import Any

from prefect import flow

from flows.distill import distill
from flows.fan_out import once
from flows.forms import DistillForm
from rded_core.errors import OutInUse
from tasks.refresh.refresh import end_skipped, end_unchanged, find_unchanged
from tasks.run.prepare import claim_out


@flow(name="refresh", flow_run_name="refresh · {config.short_name}")
def refresh(config: DistillForm) -> Any:
    """Brings ``OUT/dataset`` up to date with its source and returns its summary; ``changed`` says whether it was stale.

    Triggered by a schedule: ``rded schedule OUT --every 1d`` (or ``--cron``) adds one for a run folder to deployment
    ``refresh/refresh`` of ``rded up``, which can also be run on demand, one run at a time. A scheduled run that meets
    another writer in OUT is skipped.

    Args:
        config: what to distil, and how: the ``config`` of OUT/run.json.
    """
    try:
        with claim_out(config):
            unchanged = once(find_unchanged, config)
            if unchanged:
                return end_unchanged({**unchanged, "changed": False})
            return {**distill(config), "changed": True}
    except OutInUse as error:
        return end_skipped(config, error)
