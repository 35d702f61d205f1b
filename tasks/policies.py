"""How tasks run on Prefect: no Prefect cache (the run folder's manifest decides what is current), no hidden retries."""

from typing import Any

from prefect.cache_policies import NO_CACHE

STAGE_POLICY: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}
"""Options of every stage's ``@task``."""

GPU = "gpu"
"""Tag of tasks that run a network: they take a GPU where there is one."""

NETWORK_POLICY: dict[str, Any] = {**STAGE_POLICY, "tags": {GPU}}
"""Options of the ``@task`` of a stage that runs a network."""
