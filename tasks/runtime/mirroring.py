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


FilesOf = Callable[[Mapping[str, Any]], Wanted]
"""Picks the files that a task reads or writes, given the task's arguments by name."""


def files_of_run(_: Mapping[str, Any]) -> Wanted:
    """All files of the run, apart from the candidates' own tars."""
    return all_but_candidates


def files_of_shard(given: Mapping[str, Any]) -> Wanted:
    """Files of the classes of ``shard``, in every stage."""
    return class_files({class_unit(given["plan"].classes[index].folder) for index in given["shard"].indices})


def files_of_block(given: Mapping[str, Any]) -> Wanted:
    """Labels of the epochs of ``block``, and all distilled images."""
    return label_files_of(given["block"])


def files_of_candidates(_: Mapping[str, Any]) -> Wanted:
    """Candidates, and the records of networks that were checked on them."""
    return candidate_files


def in_mirror(function: Callable[P, R], files: FilesOf) -> Callable[P, R]:
    """Makes a task work in the local copy of its run if OUT is a URL; changes nothing for other tasks."""
    signature = inspect.signature(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        given = signature.bind(*args, **kwargs).arguments
        out = _out_of(given)
        if out is None:
            return function(*args, **kwargs)
        with Mirror(out, token=getattr(given.get("plan"), "lock_token", "")).level(files(given)):
            return function(*args, **kwargs)

    return call


def _out_of(given: Mapping[str, Any]) -> str | None:
    """Returns the URL that a task's run is written to, if it is one."""
    config = given.get("config") or getattr(given.get("plan"), "config", None)
    return config.out if isinstance(config, DistillConfig) and is_url(config.out) else None
