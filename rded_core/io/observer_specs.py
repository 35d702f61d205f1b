"""The form of an observer's spec, which can be told without torch."""

from rded_core.errors import InputError


def require_observer_spec(spec: str) -> None:
    """Raises InputError where `spec` is not of the form ``KIND:NAME``."""
    kind, _, name = spec.partition(":")
    if not (kind and name):
        near = f"; did you mean rded:{spec} or torchvision:{spec}?" if spec.isidentifier() else ""
        raise InputError(
            f"observer {spec!r} is no spec; use torchvision:NAME, timm:NAME, rded:NAME or package.module:factory{near}"
        )
