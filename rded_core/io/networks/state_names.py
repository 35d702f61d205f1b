"""Weights files as people have them: the state dict inside a checkpoint, and its names without the wrappers'."""

import logging
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from torch import Tensor

from rded_core.errors import InputError
from rded_core.text.wording import counted

STATE_KEYS = (
    "state_dict", "model", "model_state_dict", "net", "network", "state_dict_ema", "model_ema", "ema_state_dict",
    "params", "weights", "module",
)  # fmt: skip
"""Keys under which checkpoints hold a state dict; the first that is there is used. (timm and torchvision: with the
averaged weights beside it.)"""

MAX_DEPTH = 4
"""State dicts and names are looked for inside so many wrappers."""

ANYWHERE = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""Wrappers that torch.compile, FSDP and checkpointing put around any submodule."""

OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.(?=[12]\.)")
"""torchvision's published DenseNets still have dots that its networks have no longer."""

COUNTERS = ("n_averaged", "num_updates", "decay", "initted", "step", "total_ops", "total_params")
"""Last parts of names that averages of weights (EMA, SWA) and operation counters keep beside them."""

AUXILIARY = ("aux1", "aux2", "AuxLogits")
"""First parts of names of auxiliary heads, which GoogLeNet and Inception v3 use in training only."""


def find_state(loaded: object) -> dict[str, Tensor] | None:
    """Returns the state dict in a loaded file, or None if there is none."""
    for _ in range(MAX_DEPTH):
        if not isinstance(loaded, dict) or not loaded:
            return None
        entries: dict[Any, Any] = loaded
        inner = next((key for key in STATE_KEYS if isinstance(entries.get(key), dict) and entries[key]), None)
        if inner is None:
            break
        if others := [key for key in STATE_KEYS if isinstance(entries.get(key), dict) and key != inner]:
            logging.getLogger(__name__).info("the weights are those under %r; there are also %s", inner, others)
        loaded = entries[inner]
    entries = loaded if isinstance(loaded, dict) else {}
    are_weights = all(isinstance(name, str) and isinstance(value, Tensor) for name, value in entries.items())
    return entries if entries and are_weights else None


def is_empty_state(loaded: object) -> bool:
    """Whether a loaded file without a state dict holds an empty one."""
    entries: dict[Any, Any] = loaded if isinstance(loaded, dict) else {"": None}
    return not entries or any(entries.get(key) == {} for key in STATE_KEYS)


def fit_names(own: Iterable[str], state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns a state dict with the names of a network, as far as it has them.

    Names lose the wrappers around the network (``module.``, ``_orig_mod.``, ``model.``, ``net.`` or any other that most
    of the network's names lie below), counters, and auxiliary heads that the network lacks. What lies beside such a
    wrapper belongs to something else (a loss, a second network) and is left out, and so is an average (EMA) of the
    network beside its own weights. Nothing changes if the names fit.

    Raises:
        InputError: several networks in the file fit equally well, or two of its names become one.
    """
    names = set(own)
    if names == state.keys():
        return state
    if not any(ANYWHERE.search(name) for name in names):
        state = _renamed(state, ANYWHERE, "")
    if any("denselayer" in name for name in names):
        state = _renamed(state, OLD_DENSENET, r"\1")
    prefix = _find_prefix(names, state)
    inside = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    averages = _averages(names, inside)
    kept = {name: value for name, value in inside.items() if name in names or not (name in averages or _is_extra(name))}
    if len(kept) < len(state):
        _log_left_out(len(state) - len(kept), prefix, has_average=bool(averages))
    return kept


def _renamed(state: dict[str, Tensor], pattern: re.Pattern[str], by: str) -> dict[str, Tensor]:
    """Returns a state dict with a pattern in its names replaced; raises InputError if two names become one."""
    old_names: dict[str, str] = {}
    for name in state:
        new = pattern.sub(by, name)
        if new in old_names:
            raise InputError(
                f"the weights file holds two weights for {new}: {old_names[new]} and {name}; save the state dict of one"
            )
        old_names[new] = name
    return {new: state[old] for new, old in old_names.items()}


def has_auxiliary_heads(state: dict[str, Tensor]) -> bool:
    """Whether a state dict holds the auxiliary heads of GoogLeNet or Inception v3."""
    return any(part in name.split(".") for name in state for part in AUXILIARY)


def _find_prefix(names: set[str], state: dict[str, Tensor]) -> str:
    """Returns the prefix below which most of a network's names lie; "" if its names lie at the top, or nowhere."""
    hits: Counter[str] = Counter()
    for name in state:
        parts = name.split(".")
        for depth in range(min(MAX_DEPTH, len(parts))):
            if ".".join(parts[depth:]) in names:
                hits["".join(f"{part}." for part in parts[:depth])] += 1
    most = max(hits.values(), default=0)
    if 2 * most < len(names):
        return ""
    best = sorted((prefix for prefix, number in hits.items() if number == most), key=_depth_and_average)
    best = [prefix for prefix in best if _depth_and_average(prefix) == _depth_and_average(best[0])]
    if len(best) > 1:
        raise InputError(
            f"the weights file holds several networks that fit: {', '.join(best)}; save the state dict of one"
        )
    return best[0]


def _depth_and_average(prefix: str) -> tuple[int, bool]:
    """Sorts the prefix with fewest parts first, and of two of one length an average last."""
    return prefix.count("."), _is_average(prefix)


def _is_average(name: str) -> bool:
    """Whether the first part of a name says that it is of an average of weights: ``model_ema``, ``ema``."""
    return "ema" in name.partition(".")[0].split("_")


def _averages(names: set[str], state: dict[str, Tensor]) -> set[str]:
    """Returns the names that repeat names of the network below the name of an average, with its dots or without."""
    repeated = names | {name.replace(".", "") for name in names}
    inner = {name: name.partition(".")[2].removeprefix("module.") for name in state if _is_average(name)}
    return {name for name, rest in inner.items() if rest in repeated or _is_extra(rest)}


def _is_extra(name: str) -> bool:
    return name.rpartition(".")[2] in COUNTERS or name.partition(".")[0] in AUXILIARY


def _log_left_out(number: int, prefix: str, *, has_average: bool) -> None:
    what = "averages, counters and auxiliary heads" if has_average else "counters and auxiliary heads"
    where = f"beside {prefix}" if prefix else f"of {what}"
    logging.getLogger(__name__).info("%s %s in the weights file are not used", counted(number, "value"), where)
