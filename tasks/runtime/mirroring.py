"""OUT at a URL: each task fetches the files it reads into the local copy, and uploads those it wrote."""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from rded_core.config import DistillConfig
from rded_core.io.remote.sync import Mirror, Wanted
from rded_core.io.remote.transfer_order import all_but_candidates, candidate_files, class_files, label_files_of
from rded_core.io.storage.urls import is_url

P = ParamSpec("P")
R = TypeVar("R")


FilesOf = Callable[[Mapping[str, Any]], Wanted]
"""Picks the files that a task reads or writes, from its arguments by name."""


def files_of_run(_: Mapping[str, Any]) -> Wanted:
    """All files of the run, apart from the candidates' own tars."""
    return all_but_candidates


def files_of_shard(arguments: Mapping[str, Any]) -> Wanted:
    """Files of the classes of ``shard``, in every stage."""
    return class_files({arguments["plan"].unit(index) for index in arguments["shard"].indices})


def files_of_block(arguments: Mapping[str, Any]) -> Wanted:
    """Labels of the epochs of ``block``, and all distilled images."""
    return label_files_of(arguments["block"])


def files_of_candidates(_: Mapping[str, Any]) -> Wanted:
    """Candidates, and the records of networks that were checked on them."""
    return candidate_files


def in_mirror(function: Callable[P, R], files: FilesOf) -> Callable[P, R]:
    """Makes a task work in the local copy of its run if OUT is a URL; changes nothing for other tasks."""
    signature = inspect.signature(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        arguments = signature.bind(*args, **kwargs).arguments
        out = _out_of(arguments)
        if out is None:
            return function(*args, **kwargs)
        with Mirror(out, token=getattr(arguments.get("plan"), "lock_token", "")).level(files(arguments)):
            return function(*args, **kwargs)

    return call


def _out_of(arguments: Mapping[str, Any]) -> str | None:
    """Returns the URL that a task's run is written to; None for a folder."""
    config = arguments.get("config") or getattr(arguments.get("plan"), "config", None)
    return config.out if isinstance(config, DistillConfig) and is_url(config.out) else None
