"""Fixtures for run folders at URLs: one in fsspec's memory, and machines that write there."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pytest

from rded_core.io.remote.sync import Mirror


@pytest.fixture
def url() -> Iterator[str]:
    """URL of a run folder that does not exist yet, in fsspec's memory."""
    url = f"memory://rded-{uuid4().hex}/run"
    yield url
    storage = fsspec.filesystem("memory")
    if storage.exists(url):
        storage.rm(url, recursive=True)


@pytest.fixture
def files_at() -> Callable[[str], dict[str, str]]:
    """Returns the files at a URL in fsspec's memory: texts by their paths."""

    def read(url: str) -> dict[str, str]:
        inner, storage = url.removeprefix("memory:/"), fsspec.filesystem("memory")
        return {path.removeprefix(f"{inner}/"): storage.cat_file(path).decode() for path in storage.find(inner)}

    return read


@pytest.fixture
def machine(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Mirror]:
    """Opens the copy of `url` on the named machine."""

    def open_at(name: str) -> Mirror:
        monkeypatch.setenv("RDED_CACHE", str(tmp_path / name))
        return Mirror(url)

    return open_at


@pytest.fixture
def hold_elsewhere() -> Callable[..., None]:
    """Writes the lock of a process on another machine to a URL, with optional changes to its fields."""

    def hold(url: str, **changes: Any) -> None:
        content = {"token": "t", "who": "process 7 on elsewhere", "machine": "elsewhere", "pid": 7, "at": time.time()}
        fsspec.filesystem("memory").pipe_file(f"{url}/.lock", json.dumps({**content, **changes}).encode())

    return hold
