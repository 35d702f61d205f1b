"""Guard against importing code that a parameter of a deployment's run names."""

import os
from functools import lru_cache

from rded_core.errors import InputError
from rded_core.io.networks.specs import names_module

ALLOW_MODULES = "RDED_ALLOW_MODULES"


def require_may_import(spec: str) -> None:
    """Raises InputError if a run of a deployment would import a module that an observer's spec names.

    Otherwise anyone who may start runs on a server could choose the code that its workers execute. On a command line
    users run code under their own account, so nothing is refused.
    """
    if not names_module(spec) or os.environ.get(ALLOW_MODULES) == "1":
        return
    if _is_of_deployment():
        raise InputError(
            f"observer {spec!r} names a Python module, which runs of a deployment may not import; use rded:, "
            f"torchvision: or timm:NAME, or set {ALLOW_MODULES}=1 in the worker's environment"
        )


def _is_of_deployment() -> bool:
    """Whether this code runs in a deployment's run; asks the server once per run."""
    from prefect.runtime import deployment, flow_run  # here, because checks of files use networks without Prefect

    return deployment.id is not None if flow_run.id is None else _has_deployment(flow_run.id)


@lru_cache(maxsize=4)
def _has_deployment(flow_run_id: str) -> bool:
    """Whether the current flow run is a deployment's; cached, because Prefect asks its server every time."""
    del flow_run_id
    from prefect.runtime import deployment

    return deployment.id is not None
