"""Fixtures of this room: a place to put files, local or remote."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest

Put = Callable[[str, bytes], str]


@pytest.fixture(params=["local", "memory"])
def put(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Put]:
    """Writes a file below a root, locally or in fsspec's memory, and returns the root."""
    root = str(tmp_path / "root") if request.param == "local" else f"memory://rded-{uuid4().hex}/root"

    def write(relative: str, data: bytes) -> str:
        if request.param == "local":
            (Path(root) / relative).parent.mkdir(parents=True, exist_ok=True)
            (Path(root) / relative).write_bytes(data)
        else:
            fsspec.filesystem("memory").pipe(f"{root}/{relative}", data)
        return root

    yield write
    if request.param == "memory":
        fsspec.filesystem("memory").rm(root, recursive=True)
