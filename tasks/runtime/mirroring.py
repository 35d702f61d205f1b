"""OUT at a URL: each task fetches what it reads into this machine's copy, and sends what it wrote."""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from rded_core.config import DistillConfig
from rded_core.io.layout.units import class_unit
from rded_core.io.remote.sync import Mirror, Wanted
from rded_core.io.remote.transfer_order import all_but_candidates, candidate_files, class_files, label_files_of
from rded_core.io.storage.urls import is_url

P = ParamSpec("P")
R = TypeVar("R")


def in_mirror(function: Callable[P, R]) -> Callable[P, R]:
    """Has a task of a run whose OUT is a URL work in this machine's copy; leaves all others as they are."""
    signature = inspect.signature(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        given = signature.bind(*args, **kwargs).arguments
        out = _out_of(given)
        if out is None:
            return function(*args, **kwargs)
        with Mirror(out, token=getattr(given.get("plan"), "lock_token", "")).level(files_of(given)):
            return function(*args, **kwargs)

    return call


def _out_of(given: Mapping[str, Any]) -> str | None:
    """Returns the URL that a task's run is written to, if it is one."""
    config = given.get("config") or getattr(given.get("plan"), "config", None)
    return config.out if isinstance(config, DistillConfig) and is_url(config.out) else None


def files_of(given: Mapping[str, Any]) -> Wanted:
    """Picks the files that a task with these arguments reads or writes.

    A task of a class shard has to do with its own classes, whatever the stage; one of a block of epochs with its own
    labels and all images; the check of a network with candidates; any other with all but these.
    """
    if "shard" in given:
        return class_files({class_unit(given["plan"].classes[index].folder) for index in given["shard"].indices})
    if "block" in given:
        return label_files_of(given["block"])
    return candidate_files if "role" in given else all_but_candidates
