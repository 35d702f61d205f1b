"""What an observer's or student's name and its weights file show without PyTorch."""

import json
import re
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rded_core.config.network_names import OWN_NETWORKS, require_convnet_size, unknown_network
from rded_core.errors import InputError
from rded_core.io.networks.specs import is_weights_file, names_module, require_observer_spec, split_weights_spec
from rded_core.io.storage.files import require_file
from rded_core.io.storage.stand_ins import stand_in_at
from rded_core.io.storage.urls import is_url

REGISTERED = re.compile(r"^@register_model\(.*\)\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)
MAX_HEADER_BYTES = 100_000_000
"""The limit of the safetensors format."""


def require_network(name: str, size: int | None = None) -> None:
    """Raises InputError unless a name is ours or torchvision's, and if it is a ConvNet too deep for `size`."""
    known = (*OWN_NETWORKS, *torchvision_names())
    if name not in known and len(known) > len(OWN_NETWORKS):
        raise unknown_network(name, known)
    if size:
        require_convnet_size(name, size)


def require_observer(spec: str, weights: str | None, *, size: int) -> None:
    """Raises InputError if a network cannot be what its spec says, or its weights file is visibly another network's.

    What cannot be judged without importing the network passes.
    """
    require_observer_spec(spec)
    if is_weights_file(spec):
        if is_url(spec):
            return
        require_file(spec, "weights file")
        spec, weights = split_weights_spec(spec, weights, read_facts(Path(spec))), spec
    kind, _, name = spec.partition(":")
    if names_module(spec):
        _require_module(spec, kind)
    elif kind == "timm":
        _require_timm(spec)
    else:
        require_network(name, size if kind == "rded" or weights else None)
    if kind == "rded" and weights is None:
        raise InputError(f"{spec} comes without weights; give --weights FILE (rded train-observer writes one)")
    if weights and weights.endswith(".safetensors") and not is_url(weights):
        _require_same_network(spec, weights, read_facts(Path(weights)), size)


def _require_same_network(spec: str, weights: str, facts: dict[str, Any], size: int) -> None:
    """Raises InputError if the facts of a weights file name a network other than `spec`, or a ConvNet's other size."""
    kind, _, name = spec.partition(":")
    arch, made_for = facts.get("arch"), facts.get("size")
    if kind not in ("rded", "torchvision") or not isinstance(arch, str):
        return
    if arch != name:
        raise InputError(
            f"{weights} does not fit {spec}: it holds a {arch}; give --observer rded:{arch}, or its weights"
        )
    depth = int(name.removeprefix("convnet")) if re.fullmatch(r"convnet\d", name) else 0
    if depth and isinstance(made_for, int) and made_for >> depth != size >> depth:
        raise InputError(
            f"{weights} does not fit {spec} at {size} px: it was trained at {made_for} px; give --size {made_for}"
        )


def own_size(spec: object) -> dict[str, int]:
    """Returns ``size`` as a file of our own weights names it; empty for any other spec, and for a damaged file."""
    if not isinstance(spec, str) or not is_weights_file(spec) or not Path(spec).is_file():
        return {}
    try:
        size = read_facts(Path(spec)).get("size")
    except InputError:  # `require_observer` reports it
        return {}
    return {"size": size} if isinstance(size, int) else {}


def read_facts(path: Path) -> dict[str, Any]:
    """Returns the facts that `rded train-observer` wrote to the header of a .safetensors file; empty for other files.

    Raises:
        InputError: the file is damaged or cut off.
    """
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header: Any = json.loads(stream.read(length)) if length <= MAX_HEADER_BYTES else None
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        if 8 + length + max(ends, default=0) != path.stat().st_size:
            raise InputError(
                f"{path} is cut off or damaged: its size differs from its header's; fetch or save it again"
            )
        facts = json.loads(header.get("__metadata__", {}).get("rded", "{}"))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        if found := stand_in_at(str(path)):
            raise InputError(f"{path} holds no weights: {found}") from error
        raise InputError(
            f"{path} holds no weights that can be read safely (no safetensors header); expected .safetensors, or a "
            "plain state dict saved by torch.save(network.state_dict(), FILE)"
        ) from error
    return facts if isinstance(facts, dict) else {}


@lru_cache(maxsize=1)
def torchvision_names() -> tuple[str, ...]:
    """Returns the names of torchvision's classifiers, from its source files; empty if they cannot be read."""
    found = find_spec("torchvision")
    if found is None or not found.origin:
        return ()
    try:
        files = sorted((Path(found.origin).parent / "models").glob("*.py"))
        return tuple(name for path in files for name in REGISTERED.findall(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return ()


def _require_timm(spec: str) -> None:
    if find_spec("timm") is None:
        raise InputError(f"{spec} needs the package timm; pip install 'rded[timm]'")


def _require_module(spec: str, module: str) -> None:
    """Raises InputError if the package of a spec's module is not found; the module itself is not imported."""
    try:
        is_there = find_spec(module.partition(".")[0]) is not None
    except (ImportError, ValueError):  # such as __main__, or a relative name
        return
    if not is_there:
        raise InputError(
            f"observer {spec!r}: No module named {module.partition('.')[0]!r}; give torchvision:NAME, timm:NAME, "
            "rded:NAME, or package.module:factory with the module on PYTHONPATH"
        )
