"""``rded schedule``: refreshes of a run folder on a schedule."""

import hashlib
import json
import re
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from deployments.server.setup import current_server
from rded_core.errors import InputError
from rded_core.io.remote.working_copy import run_as_asked
from rded_core.io.run.run_json import config_of, find_run
from rded_core.io.storage.urls import is_url

DEPLOYMENT = "refresh/refresh"
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def schedule_of(every: str | None, cron: str | None) -> Any:
    """Returns Prefect's schedule for ``--every 1d`` or ``--cron '0 3 * * *'``.

    Raises:
        InputError: neither or both are given, or the value cannot be parsed.
    """
    from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
    from pydantic import ValidationError

    if bool(every) == bool(cron):
        raise InputError("give one of --every 1d, --cron '0 3 * * *' and --off")
    if every:
        match = re.fullmatch(r"(\d+)([smhd])", every)
        if not match or int(match[1]) == 0:
            raise InputError(f"--every must be a number followed by s, m, h or d, such as 12h; got {every!r}")
        return IntervalSchedule(interval=timedelta(**{UNITS[match[2]]: int(match[1])}))
    try:
        return CronSchedule(cron=cron or "")
    except ValidationError as error:
        raise InputError(f"--cron must have five fields, such as '0 3 * * *' (UTC); got {cron!r}") from error


def set_schedule(out: str, schedule: Any) -> str:
    """Sets a run folder's schedule, with the config in its run.json; returns the folder.

    Args:
        out: the run folder.
        schedule: Prefect's schedule; None to remove it.

    Raises:
        InputError: the folder holds no run, it has no schedule to remove, or there is no server or no access to it.
        RunStopped: the server does not answer.
    """
    out = out.rstrip("/") if is_url(out) else str(Path(out).resolve())
    parameters = None if schedule is None else _parameters_of(out)
    slug = f"out-{hashlib.sha256(out.encode()).hexdigest()[:12]}"
    with current_server() as client:
        deployment = _find_deployment(client)
        own = [each for each in client.read_deployment_schedules(deployment.id) if each.slug == slug]
        if schedule is None and not own:
            raise InputError(
                f"{out} has no schedule; prefect deployment schedule ls {DEPLOYMENT} lists the existing ones"
            )
        for before in own:
            client.delete_deployment_schedule(deployment.id, before.id)
        if schedule is not None:
            client.create_deployment_schedules(deployment.id, [(schedule, True)], parameters=parameters, slug=slug)
    return out


def _parameters_of(out: str) -> dict[str, Any]:
    """Returns the parameters that bring a run up to date: the config of its last distillation."""
    if is_url(out):
        with run_as_asked(out) as folder:
            config = replace(config_of(find_run(folder)), out=out)
    else:
        config = config_of(find_run(out))
    return {"config": json.loads(json.dumps(asdict(config)))}


def _find_deployment(client: Any) -> Any:
    from prefect.exceptions import ObjectNotFound

    try:
        return client.read_deployment_by_name(DEPLOYMENT)
    except ObjectNotFound as error:
        raise InputError(f"the server has no deployment {DEPLOYMENT}; create it with rded deploy") from error
