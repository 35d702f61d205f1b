"""The form of an observer's spec, checked without torch."""

from typing import Any

from rded_core.errors import InputError

KINDS = ("torchvision", "timm", "rded")
"""Collections of named networks; any other word before the colon is a module."""

OWN_ENDING = ".safetensors"
"""Ending of the files that `weights.save_network` writes, which name their network, size and classes."""


def is_weights_file(spec: str) -> bool:
    """Whether a spec is a file of our own weights, which names its network itself."""
    return spec.endswith(OWN_ENDING)


def names_module(spec: str) -> bool:
    """Whether a spec is ``package.module:factory``, which is imported and called."""
    kind, colon, _ = spec.partition(":")
    return bool(colon) and kind not in KINDS and not is_weights_file(spec)


def require_observer_spec(spec: str) -> None:
    """Raises InputError if `spec` is neither of the form ``KIND:NAME`` nor a file of our own weights."""
    kind, _, name = spec.partition(":")
    if is_weights_file(spec) or (kind and name):
        return
    near = f"; did you mean rded:{spec} or torchvision:{spec}?" if spec.isidentifier() else ""
    if spec.endswith((".pth", ".pt", ".bin", ".ckpt", ".tar")):
        near = f"; the file does not name its network: give it as --weights {spec} with one of these"
    raise InputError(
        f"observer {spec!r} is not a valid spec; use torchvision:NAME, timm:NAME, rded:NAME, "
        f"package.module:factory or a .safetensors file that rded train-observer wrote{near}"
    )


def split_weights_spec(spec: str, weights: str | None, facts: dict[str, Any]) -> str:
    """Returns the spec of the network that a file of our own weights names.

    Raises:
        InputError: the file names none, or other weights are given too.
    """
    if weights not in (None, spec):
        raise InputError(f"{spec} is its own weights, but {weights} is given too; leave one of them out")
    if not isinstance(facts.get("arch"), str):
        raise InputError(
            f"{spec} does not name its network; give --observer torchvision:NAME, timm:NAME or rded:NAME, and the file "
            "as --weights"
        )
    return f"rded:{facts['arch']}"
