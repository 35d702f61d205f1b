"""The form of an observer's spec, which can be told without torch."""

from rded_core.errors import InputError

KINDS = ("torchvision", "timm", "rded")
"""Where named networks come from; whatever else stands before the colon is a module."""


def names_module(spec: str) -> bool:
    """Tells whether a spec is ``package.module:factory``, which is imported and called."""
    kind, colon, _ = spec.partition(":")
    return bool(colon) and kind not in KINDS


def require_observer_spec(spec: str) -> None:
    """Raises InputError where `spec` is not of the form ``KIND:NAME``."""
    kind, _, name = spec.partition(":")
    if not (kind and name):
        near = f"; did you mean rded:{spec} or torchvision:{spec}?" if spec.isidentifier() else ""
        raise InputError(
            f"observer {spec!r} is no spec; use torchvision:NAME, timm:NAME, rded:NAME or package.module:factory{near}"
        )
