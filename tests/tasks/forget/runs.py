"""Helpers that look into a run, for tests of forgetting."""

import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rded_core.config import DistillConfig

MakeConfig = Callable[..., DistillConfig]
RunUndecorated = Callable[[DistillConfig], Path]
Forget = Callable[..., dict[str, Any]]


@contextmanager
def killed_at(name: str) -> Iterator[None]:
    """Stops a block with KeyboardInterrupt when it calls the function `name`, as if the process were killed there."""

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(name, die)
        with pytest.raises(KeyboardInterrupt):
            yield


def sums_of(run: Path) -> str:
    return (run / "dataset" / "SHA256SUMS").read_text()


def lineage_of(run: Path) -> list[dict[str, Any]]:
    return pq.read_table(run / "dataset" / "lineage").to_pylist()


def lineage_row(run: Path, *, class_index: int = 0, rank: int = 0) -> dict[str, Any]:
    return next(row for row in lineage_of(run) if (row["class_index"], row["rank"]) == (class_index, rank))


def sums_of_a_fresh_run(run: Path, config: DistillConfig, run_undecorated: RunUndecorated) -> str:
    """Returns the sums of a new run without the images that `run` has forgotten."""
    fresh = Path(config.out)
    fresh.mkdir()
    shutil.copy(run / "forgotten.json", fresh)
    run_undecorated(config)
    return sums_of(fresh)


def pieces(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yields every file below a folder, every member of its tars, and every column of its tables."""
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        name = path.relative_to(folder).as_posix()
        yield name, path.read_bytes()
        if path.suffix == ".tar":
            with tarfile.open(path) as archive:
                for member in archive:
                    opened = archive.extractfile(member)
                    yield f"{name}/{member.name}", opened.read() if opened else b""
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            for column in table.column_names:
                yield f"{name}:{column}", json.dumps(table[column].to_pylist(), default=str).encode()


def traces(run: Path, *needles: bytes) -> set[str]:
    """Returns the pieces of a run that hold one of the needles, except the list of forgotten images and its copy."""
    lists = {"forgotten.json", "work/forgotten.json"}
    return {name for name, data in pieces(run) if name not in lists and any(needle in data for needle in needles)}


def listings(run: Path) -> set[str]:
    return {path.relative_to(run).as_posix() for path in (run / "work" / "index").iterdir()}


def files_of(run: Path) -> dict[Path, bytes]:
    """Returns every file except run.json, which names the folder that the run was copied to."""
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "run.json"}


def drawn(run: Path, folder: str) -> set[str]:
    """Returns the URIs of a class's candidates."""
    (table,) = (run / "work" / "candidates").glob(f"{folder}-*.parquet")
    return set(pq.read_table(table)["source_uri"].to_pylist())
