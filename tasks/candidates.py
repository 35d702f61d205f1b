"""Draw candidates: the first usable images of each class in draw order, copied into WebDataset tars as they are."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from prefect import task

from rded_core.errors import InputError
from rded_core.io.images import RejectedImage, read_header
from rded_core.io.manifest import Record
from rded_core.io.parallel import map_ordered
from rded_core.io.paths import ClassShard, RunFolder
from rded_core.io.shards import Sample, write_shard
from rded_core.io.sources import SourceItem, read_item
from rded_core.io.tables import CANDIDATES, INDEX, read_rows_by_class, write_rows
from tasks.index import item_of
from tasks.networks import num_workers
from tasks.policies import STAGE_POLICY
from tasks.prepare import RunPlan, too_few
from tasks.progress import track
from tasks.units import run_unit

STAGE = "candidates"

Rejected = dict[int, list[tuple[str, str]]]
"""Class index to (reason, URI inside the source) of each image that cannot be used."""

MISSING_SHARE = 0.1
"""Share of a class's images that may be gone since the source was listed: dangling links, files without permission."""

MISSING_IMAGES = 3
"""So many may be gone of any class, however small."""


class _StoredImage(NamedTuple):
    """An image's bytes, the file ending of their format, and their digest."""

    data: bytes
    suffix: str
    sha256: str


@task(name=STAGE, task_run_name="candidates {shard.name}", **STAGE_POLICY)
def draw_candidates(plan: RunPlan, shard: ClassShard) -> Record:
    """Draws `num_candidates` images per class whose header reads; others are rejected, counted, and replaced.

    Writes a tar of the stored bytes (unless the source is tars already) and a table of where each candidate lies.
    """
    run, index = plan.run, plan.index[shard.name]
    table, tar = run.table(STAGE, shard.name), run.tar(STAGE, shard.name)

    def produce() -> dict[str, Any]:
        rows: list[dict[str, Any]] = []
        rejected: Rejected = {label.index: [] for label in plan.classes_of(shard)}
        samples = _draw(plan, shard, rows, rejected)
        if plan.needs_tars:
            written = write_shard(tar, samples)
            rows = [_into_tar(row, written.members) for row in rows]
        else:
            for _ in samples:
                pass
        _check_drawn(plan, shard, rows, rejected)
        write_rows(table, rows, CANDIDATES)
        return {"candidates": len(rows), "rejected": {str(key): found for key, found in rejected.items() if found}}

    return run_unit(
        run,
        STAGE,
        shard.name,
        settings={"num_candidates": plan.config.num_candidates, "tars": plan.needs_tars},
        upstream=[index.outputs_digest()],
        outputs=[table, tar] if plan.needs_tars else [table],
        produce=produce,
    )


def _draw(plan: RunPlan, shard: ClassShard, rows: list[dict[str, Any]], rejected: Rejected) -> Iterator[Sample]:
    """Yields the accepted candidates as samples, class by class, noting each in `rows`, the others in `rejected`."""
    table = plan.run.table("index", shard.name)
    wanted = sum(min(plan.config.num_candidates, plan.num_source[label.index]) for label in plan.classes_of(shard))

    def accepted() -> Iterator[Sample]:
        for index, listed in read_rows_by_class(table, INDEX, range(shard.start, shard.stop)):
            position = 0
            for row, outcome in map_ordered(_read, listed, workers=num_workers(plan.config)):
                if isinstance(outcome, str):
                    rejected[index].append((outcome, item_of(row).uri))
                    continue
                member = f"c{index:05d}_p{position:06d}"
                rows.append(_candidate_row(row, position, f"{member}.{outcome.suffix}", outcome.sha256))
                yield member, {outcome.suffix: outcome.data, "cls": str(index).encode()}
                position += 1
                if position == plan.config.num_candidates:
                    break

    yield from track(accepted(), total=wanted, what=f"candidates {shard.name}")


def _check_drawn(plan: RunPlan, shard: ClassShard, rows: list[dict[str, Any]], rejected: Rejected) -> None:
    """Raises InputError before anything is recorded: a source that has gone away is not a source with bad images."""
    drawn = Counter(row["class_index"] for row in rows)
    for label in plan.classes_of(shard):
        usable, tried = drawn[label.index], drawn[label.index] + len(rejected[label.index])
        missing = [uri for reason, uri in rejected[label.index] if reason == "missing"]
        if missing and (len(missing) == tried or len(missing) > max(MISSING_SHARE * tried, MISSING_IMAGES)):
            raise InputError(
                f"{len(missing)} of {tried} images of class {label.folder!r} cannot be read any more ({missing[0]}); "
                f"check that {plan.config.source} is there and complete, then run again"
            )
        if usable < plan.config.candidates_per_class and not plan.config.allow_fewer:
            raise too_few(label.folder, usable, plan.num_source[label.index], plan.config)


def _read(row: dict[str, Any]) -> tuple[dict[str, Any], _StoredImage | str]:
    """Reads a listed image, or says why it cannot be used."""
    try:
        data = read_item(item_of(row))
        return row, _StoredImage(data, read_header(data), hashlib.sha256(data).hexdigest())
    except RejectedImage as error:
        return row, error.reason


def _candidate_row(row: dict[str, Any], position: int, member: str, sha256: str) -> dict[str, Any]:
    source_uri = item_of(row).uri
    return {**row, "position": position, "source_uri": source_uri, "source_sha256": sha256, "member": member}


def _into_tar(row: dict[str, Any], offsets: dict[str, tuple[int, int]]) -> dict[str, Any]:
    offset, num_bytes = offsets[row["member"]]
    return {**row, "path": "", "offset": offset, "num_bytes": num_bytes, "in_tar": True}


def candidate_item(plan: RunPlan, shard: ClassShard, row: dict[str, Any]) -> SourceItem:
    """Returns where a candidate's bytes lie: in the shard's own tar where its row names no path."""
    return item_of(row if row["path"] else {**row, "path": _tar_path(plan.config.out, shard.name)})


@lru_cache(maxsize=64)
def _tar_path(out: str, name: str) -> str:
    """Returns a shard's tar, once: building paths takes longer than reading a small image."""
    return str(RunFolder(Path(out)).tar(STAGE, name))


def raise_if_missing(error: RejectedImage, row: dict[str, Any], plan: RunPlan) -> None:
    """Raises InputError where a candidate that was there when it was drawn has gone: nothing may be recorded then."""
    if error.reason == "missing":
        raise InputError(
            f"{row['source_uri']} cannot be read any more ({error}); check that {plan.config.source} is there and "
            "complete, then run again"
        ) from error
