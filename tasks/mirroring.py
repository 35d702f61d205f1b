"""OUT at a URL: each task fetches what it reads into this machine's copy, and sends what it wrote."""

import inspect
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from rded_core.config import DistillConfig
from rded_core.io.mirrors import Mirror, Wanted, told_with_url
from rded_core.io.paths import block_name, class_unit, stage_and_unit
from rded_core.io.remote_locks import only_writer_at
from rded_core.io.storage import is_url

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
        with Mirror(out).level(files_of(given)):
            return function(*args, **kwargs)

    return call


def _out_of(given: Mapping[str, Any]) -> str | None:
    """Returns the URL that a task's run is written to, if it is one."""
    config = given.get("config") or getattr(given.get("plan"), "config", None)
    return config.out if isinstance(config, DistillConfig) and is_url(config.out) else None


def files_of(given: Mapping[str, Any]) -> Wanted:
    """Picks the files that a task with these arguments reads or writes.

    A task of a class shard has to do with its own classes, whatever the stage; one of a block of epochs with its own
    labels and all images; any other with all but the candidates, which are as large as the source's share of them.
    """
    if "shard" in given:
        units = {class_unit(given["plan"].classes[index].folder) for index in given["shard"].indices}
        return lambda path: stage_and_unit(path)[1] in units
    if "block" in given:
        name = block_name(given["block"])
        return lambda path: (
            stage_and_unit(path)[0] == "squeeze" or stage_and_unit(path)[1].startswith((name, "images-"))
        )
    if "role" in given:
        return lambda path: stage_and_unit(path)[0] in ("candidates", "observe")
    return lambda path: not (stage_and_unit(path)[0] == "candidates" and path.endswith(".tar"))


@contextmanager
def claimed_url(out: str) -> Generator[None]:
    """Holds the run folder at a URL while a block writes to this machine's copy, and has errors name the URL."""
    mirror = Mirror(out)
    with told_with_url(), only_writer_at(out):
        mirror.pull(files_of({}))
        yield
