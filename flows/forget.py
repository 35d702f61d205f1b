"""Forget source images: note them, remove them from the run's files, distil what has changed."""

from typing import Any

from prefect import flow

from flows.distill import run_stages
from rded_core.errors import InputError
from tasks.forget.forget import (
    already_forgotten,
    config_to_forget_in,
    note_forgotten,
    scrub_work,
    still_shown,
    sum_up_forgetting,
)
from tasks.run.prepare import claim_out, prepare


@flow(name="forget", flow_run_name="forget in {out}")
def forget(out: str, images: list[str]) -> dict[str, Any]:
    """Removes every use of source images from a finished run, as if they had never been in its source.

    Triggered on demand only, by ``rded forget OUT --source IMAGE``; it has no deployment and no schedule.

    Args:
        out: the run folder.
        images: source images, each by its URI or SHA-256; with none, an interrupted forgetting is finished.

    Raises:
        InputError: an image cannot be found or spared, or another process writes there.
    """
    if already := already_forgotten(out, images):
        return {"already": already}
    config = config_to_forget_in(out)
    with claim_out(config):  # until the end: an overlapping second forgetting would be finished together with this one
        plan = prepare(config)
        forgetting = scrub_work(plan, note_forgotten(plan, images))
        try:
            run_stages(forgetting.plan)
        except InputError as error:
            raise still_shown(plan, error) from error
        return sum_up_forgetting(forgetting)
