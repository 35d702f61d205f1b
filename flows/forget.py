"""Forget source images: note them, take them out of the run's files, distil what has changed."""

from typing import Any

from prefect import flow

from flows.distill import distill
from rded_core.errors import InputError
from rded_core.io.lineage.known_images import forgotten_before
from rded_core.io.run.run_json import config_of, find_run
from tasks.maintenance.forget import note_forgotten, scrub_work, sum_up_forgetting
from tasks.run.prepare import claim_out, prepare


@flow(name="forget", flow_run_name="forget in {out}")
def forget(out: str, images: list[str]) -> dict[str, Any]:
    """Removes every use of source images from a finished run, as if they had never been in its source.

    Args:
        out: the run folder.
        images: source images, each by its URI or SHA-256; with none, what was begun and has not ended is ended.

    Raises:
        InputError: an image is not to be found, or cannot be spared; or somebody else writes there.
    """
    run = find_run(out)
    if before := forgotten_before(run, images):
        return {"already": before}
    config = config_of(run)
    with claim_out(config):  # to the end: another forgetting between two steps would be ended with this one
        plan = prepare(config)
        forgetting = scrub_work(plan, note_forgotten(plan, images))
        try:
            distill(config)
        except InputError as error:
            raise InputError(
                f"{error}; the images are noted as forgotten, but {run.dataset} shows them until rded distill has run "
                "through"
            ) from error
        return sum_up_forgetting(run, forgetting)
