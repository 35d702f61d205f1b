"""Code that a parameter names: what a server's runs may import."""

import os
from functools import lru_cache

from rded_core.errors import InputError
from rded_core.io.networks.specs import names_module

ALLOW_MODULES = "RDED_ALLOW_MODULES"


def require_may_import(spec: str) -> None:
    """Raises InputError where a run of a deployment would import a module that an observer's spec names.

    Whoever may start runs on a server would otherwise choose the code that its workers execute. On a command line the
    user's own account runs whatever he names, and nothing is refused.
    """
    if not names_module(spec) or os.environ.get(ALLOW_MODULES) == "1":
        return
    if _is_of_deployment():
        raise InputError(
            f"observer {spec!r} names code, which runs of a deployment may not import; give rded:, torchvision: or "
            f"timm:NAME, or set {ALLOW_MODULES}=1 where the worker is started"
        )


def _is_of_deployment() -> bool:
    """Tells whether this is part of a deployment's run; the server is asked once a run."""
    from prefect.runtime import deployment, flow_run  # here, since checks of files use networks without Prefect

    return deployment.id is not None if flow_run.id is None else _has_deployment(flow_run.id)


@lru_cache(maxsize=4)
def _has_deployment(flow_run_id: str) -> bool:
    """Tells whether the flow run at hand is a deployment's, which it stays: Prefect asks its server at every look."""
    del flow_run_id
    from prefect.runtime import deployment

    return deployment.id is not None
