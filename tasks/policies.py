"""How tasks run on Prefect: no Prefect cache (the run folder's manifest decides what is current), no hidden retries."""

from typing import Any

from prefect.cache_policies import NO_CACHE

STAGE_POLICY: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}
"""Options of every stage's ``@task``."""
