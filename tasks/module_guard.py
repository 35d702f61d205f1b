"""Code that a parameter names: what a server's runs may import."""

import os

from rded_core.errors import InputError
from rded_core.io.observer_specs import names_module

ALLOW_MODULES = "RDED_ALLOW_MODULES"


def require_may_import(spec: str) -> None:
    """Raises InputError where a run of a deployment would import a module that an observer's spec names.

    Whoever may start runs on a server would otherwise choose the code that its workers execute. On a command line the
    user's own account runs whatever he names, and nothing is refused.
    """
    if not names_module(spec) or os.environ.get(ALLOW_MODULES) == "1":
        return
    from prefect.runtime import deployment  # here, since checks of files use networks without Prefect

    if deployment.id is not None:
        raise InputError(
            f"observer {spec!r} names code, which runs of a deployment may not import; give rded:, torchvision: or "
            f"timm:NAME, or set {ALLOW_MODULES}=1 where the worker is started"
        )
