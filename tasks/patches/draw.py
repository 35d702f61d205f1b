"""Draw candidates: the first usable images of each class in draw order, copied unchanged into WebDataset tars."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, islice
from math import ceil
from typing import Any, NamedTuple

from rded_core.errors import InputError
from rded_core.io.formats.images import RejectedImage, read_header
from rded_core.io.formats.rows import CandidateRow, IndexRow
from rded_core.io.formats.schemas import CANDIDATES, INDEX
from rded_core.io.formats.shards import Sample, write_shard
from rded_core.io.formats.tables import iterate_rows, write_rows
from rded_core.io.layout.run import DRAW
from rded_core.io.layout.units import ClassShard, class_unit
from rded_core.io.parallel import map_ordered
from rded_core.io.run.candidates import content_of, into_tar, item_of, member_name
from rded_core.io.run.records import Record
from rded_core.io.sources.base import SourceItem
from rded_core.io.sources.reading import Reader, read_together
from tasks.run.networks import num_workers
from tasks.run.plan import RunPlan, too_few
from tasks.run.results import Rejected, StageResult, count_missing
from tasks.run.worklist import Unit, Worklist
from tasks.runtime.mirroring import files_of_shard
from tasks.runtime.progress import track
from tasks.runtime.stage_task import stage_task

STAGE = DRAW

FEW_REJECTED = 3
"""Up to this many rejected images never stop a run, however small its source."""

LFS_HINT = ", which git lfs pull replaces by images"


class _StoredImage(NamedTuple):
    """An image's bytes, the file suffix of their format, and their digest."""

    data: bytes
    suffix: str
    sha256: str


@stage_task(STAGE, "draw {shard.name} · {plan.config.short_name}", files=files_of_shard)
def draw_candidates(plan: RunPlan, shard: ClassShard) -> StageResult:
    """Draws `num_candidates` images with a readable header per class; others are rejected, counted, and replaced.

    Writes, for each class, a tar of the stored bytes (unless the source is already tars) and a table with the location
    of each candidate. The position of a forgotten image stays empty.
    """
    units = {index: _unit(plan, index) for index in shard.indices}
    work = Worklist(
        units,
        lambda index: plan.scope("draw", index),
        why=plan.index.why,
        workers=num_workers(plan.config),
    )
    first = chain.from_iterable(_first_listed(plan, index) for index in work.stale)
    with read_together(first, plan.run.stage(STAGE)) as read:
        for index in track(list(work.stale), total=len(work.stale), what=f"draw {shard.name}", unit="class"):
            work.finish(index, _draw_class(plan, index, read))
    return work.result(STAGE, shard.name)


def _unit(plan: RunPlan, index: int) -> Unit | None:
    listed = plan.index.records.get(index)
    if listed is None:
        return None
    folder = plan.classes[index].folder
    name = class_unit(folder)
    table, tar = plan.run.table(STAGE, name), plan.run.tar(STAGE, name)
    return Unit(
        plan.run,
        STAGE,
        name,
        settings={
            "num_candidates": plan.config.num_candidates,
            "tars": plan.needs_tars,
            "forgotten": plan.forgotten.mark_of_class(folder),
        },
        upstream={"images": listed.outputs_digest()},
        outputs=(table, tar) if plan.needs_tars else (table,),
        still_true=_always_true if plan.scope("draw", index).frozen else count_missing,
    )


def _always_true(_: Record) -> str:
    return ""


def _first_listed(plan: RunPlan, index: int) -> Iterator[SourceItem]:
    """Yields the images of a class that its candidates are drawn from, unless more are rejected than a run allows."""
    limit = plan.config.num_candidates + max(ceil(plan.config.max_rejected * plan.config.num_candidates), FEW_REJECTED)
    return map(item_of, islice(_listed(plan, index), limit))


def _listed(plan: RunPlan, index: int) -> Iterator[IndexRow]:
    return iterate_rows(plan.run.table("index", plan.unit(index)), INDEX)


def _draw_class(plan: RunPlan, index: int, read: Reader) -> dict[str, Any]:
    """Writes one class's candidates and returns the facts for its record."""
    name = plan.unit(index)
    rows: list[CandidateRow] = []
    rejected: Rejected = []
    samples = _draw(plan, index, read, rows, rejected)
    if plan.needs_tars:
        members = write_shard(plan.run.tar(STAGE, name), samples).members
        rows = [into_tar(row, members) for row in rows]
    else:
        for _ in samples:
            pass
    _check_drawn(plan, index, len(rows), rejected)
    write_rows(plan.run.table(STAGE, name), rows, CANDIDATES)
    return {"candidates": len(rows), "content": content_of(rows), "rejected": rejected}


def _draw(plan: RunPlan, index: int, read: Reader, rows: list[CandidateRow], rejected: Rejected) -> Iterator[Sample]:
    """Yields the accepted candidates as samples; adds each to `rows`, and the other images to `rejected`."""
    folder = plan.classes[index].folder
    position = 0
    for row, outcome in map_ordered(partial(_read, read), _listed(plan, index), workers=num_workers(plan.config)):
        if isinstance(outcome, str):
            rejected.append((outcome, item_of(row).uri))
            continue
        if outcome.sha256 not in plan.forgotten.sha256:
            member = member_name(position)
            rows.append(_candidate_row(row, position, f"{member}.{outcome.suffix}", outcome.sha256))
            yield member, {outcome.suffix: outcome.data, "cls": folder.encode()}
        position += 1
        if position == plan.config.num_candidates:
            break


def _check_drawn(plan: RunPlan, index: int, usable: int, rejected: Rejected) -> None:
    """Raises InputError if too few images are usable, before any are recorded; says so if they are missing."""
    missing = [uri for reason, uri in rejected if reason == "missing"]
    short = usable < plan.config.candidates_per_class and not plan.config.allow_fewer
    if missing and (short or not usable):
        tried, folder = usable + len(rejected), plan.classes[index].folder
        raise InputError(
            f"{len(missing)} of {tried} images of class {folder!r} can no longer be read ({missing[0]}); check that "
            f"{plan.config.source} exists and is complete, then run again"
        )
    if short:
        why = _list_reasons(rejected)
        raise too_few(plan.classes[index].folder, usable, plan.num_source[index], plan.config, rejected=why)


def _list_reasons(rejected: Rejected) -> str:
    """Returns how many images were rejected for each reason, and the first; empty if none were."""
    counts = sorted(Counter(reason for reason, _ in rejected).items())
    hint = LFS_HINT if any(reason == "lfs_pointer" for reason, _ in rejected) else ""
    listed = ", ".join(f"{count} {reason}" for reason, count in counts)
    return f"{listed}{hint}; the first: {rejected[0][1]}" if rejected else ""


def check_rejected(plan: RunPlan, stages: list[StageResult], later: Sequence[StageResult] = ()) -> None:
    """Raises InputError if more images are unusable than the run allows.

    Finished work is kept: with a larger ``max_rejected`` the run resumes from here.

    Args:
        plan: the run's plan.
        stages: results of the stage that read the images.
        later: results of a stage that read some of them again, and lost some.
    """
    read = [record for stage in stages for record in stage.records.values()]
    again = [record for stage in later for record in stage.records.values()]
    tried = sum(
        len(record.facts["rejected"]) + record.facts.get("candidates", record.facts.get("usable", 0)) for record in read
    )
    rejected = [entry for record in (*read, *again) for entry in record.facts["rejected"]]
    if len(rejected) <= max(plan.config.max_rejected * tried, FEW_REJECTED):
        return
    raise InputError(
        f"{len(rejected)} of {tried} source images cannot be used ({_list_reasons(rejected)}), more than "
        f"--max-rejected {plan.config.max_rejected:g}; fix the source or raise --max-rejected, then run again"
    )


def _read(read: Reader, row: IndexRow) -> tuple[IndexRow, _StoredImage | str]:
    """Returns a listed image, or the reason why it cannot be used."""
    try:
        data = read(item_of(row))
        return row, _StoredImage(data, read_header(data), hashlib.sha256(data).hexdigest())
    except RejectedImage as error:
        return row, error.reason


def _candidate_row(row: IndexRow, position: int, member: str, sha256: str) -> CandidateRow:
    return CandidateRow(
        position=position,
        key=row["key"],
        path=row["path"],
        offset=row["offset"],
        num_bytes=row["num_bytes"],
        in_tar=row["in_tar"],
        source_uri=item_of(row).uri,
        source_sha256=sha256,
        member=member,
    )
