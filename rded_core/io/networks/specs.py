"""The form of an observer's spec, checked without torch."""

from rded_core.errors import InputError

KINDS = ("torchvision", "timm", "rded")
"""Collections of named networks; any other word before the colon is a module."""


def names_module(spec: str) -> bool:
    """Whether a spec is ``package.module:factory``, which is imported and called."""
    kind, colon, _ = spec.partition(":")
    return bool(colon) and kind not in KINDS


def require_observer_spec(spec: str) -> None:
    """Raises InputError if `spec` is not of the form ``KIND:NAME``."""
    kind, _, name = spec.partition(":")
    if not (kind and name):
        near = f"; did you mean rded:{spec} or torchvision:{spec}?" if spec.isidentifier() else ""
        raise InputError(
            f"observer {spec!r} is not a valid spec; use torchvision:NAME, timm:NAME, rded:NAME or "
            f"package.module:factory{near}"
        )
