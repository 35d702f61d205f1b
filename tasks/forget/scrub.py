"""Takes forgotten images out of the files in ``work/``; units that do not depend on them stay up to date."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from rded_core.errors import InputError
from rded_core.io.formats.rows import CandidateRow, LineageRow
from rded_core.io.formats.schemas import CANDIDATES, SCORES, SELECTED
from rded_core.io.formats.shards import Sample, read_shard, write_shard
from rded_core.io.formats.tables import read_rows, write_rows
from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.layout.run import RunFolder
from rded_core.io.layout.units import class_unit
from rded_core.io.lineage.known_images import tables_of
from rded_core.io.lineage.tables import find_sources, find_uses
from rded_core.io.parallel import map_ordered
from rded_core.io.run.candidates import content_of, into_tar, member_name
from rded_core.io.run.forgotten import Forgotten
from rded_core.io.run.inventory import CLASS_STAGES
from rded_core.io.run.records import Record, damaged_outputs, find_record, write_record
from rded_core.io.run.removal import drop_folder, drop_unit, units_of
from rded_core.io.run.run_json import clear_traces
from rded_core.io.storage.files import file_digest
from tasks.run.networks import num_workers
from tasks.run.plan import RunPlan

IMAGE_STAGES = ("selection", "squeeze")


def scrub(plan: RunPlan, forgotten: Forgotten, uris: set[str]) -> list[str]:
    """Takes forgotten images out of all work of a run, and removes the controls that may show them.

    Candidates and scores are rewritten without the images and stay up to date. Selections and images that show one are
    dropped, to be made again, and so are damaged units, since their contents are unknown. A class that has left the run
    is dropped as a whole if it had one as a candidate.

    Args:
        plan: plan of the run; the caller holds the run's lock.
        forgotten: images to take out.
        uris: URIs under which the images were candidates.

    Returns:
        The names of the removed controls.
    """
    folders = {class_unit(label.folder): label.folder for label in plan.classes}
    clear_traces(plan.run)
    units = units_of(plan.run, CLASS_STAGES)

    def work(unit: str) -> None:
        _scrub_class(plan.run, unit, folders.get(unit), forgotten, uris)

    for _ in map_ordered(work, units, workers=num_workers(plan.config)):
        pass
    removed: list[str] = []
    for control in plan.run.controls():
        clear_traces(control)
        if _may_name(control, forgotten, uris):
            drop_folder(control.root)
            removed.append(control.root.name)
    return removed


def _scrub_class(run: RunFolder, unit: str, folder: str | None, forgotten: Forgotten, uris: set[str]) -> None:
    """Scrubs the units of one class; `folder` is None if the class has left the run."""
    drawn = _whole_record(run, "candidates", unit)
    if drawn is None:
        _drop(run, unit, CLASS_STAGES[1:])
        return
    rows = read_rows(run.table("candidates", unit), CANDIDATES)
    kept = [row for row in rows if row["source_sha256"] not in forgotten.sha256]
    if len(kept) < len(rows) and folder is None:
        _drop(run, unit, CLASS_STAGES)
        return
    if len(kept) < len(rows):
        without = _leave_out(run, drawn, kept, {**drawn.settings, "forgotten": forgotten.mark_of_class(str(folder))})
        removed = [row for row in rows if row["source_sha256"] in forgotten.sha256]
        _scrub_scores(run, drawn, without, removed)
    if not _images_are_free(run, unit, forgotten, uris, {row["position"] for row in kept}):
        _drop(run, unit, IMAGE_STAGES)


def _whole_record(run: RunFolder, stage: str, unit: str) -> Record | None:
    """Returns a unit's record if its outputs match it, else None."""
    path = run.record(stage, unit)
    record, _ = find_record(path)
    return None if record is None or damaged_outputs(path, record) else record


def _drop(run: RunFolder, unit: str, stages: tuple[str, ...]) -> None:
    for stage in reversed(stages):
        drop_unit(run, stage, unit)


def _leave_out(run: RunFolder, record: Record, kept: list[CandidateRow], settings: dict[str, Any]) -> Record:
    """Rewrites a class's candidates as if only those kept had been drawn; returns their record."""
    path = run.record("candidates", record.unit)
    table, tar = run.table("candidates", record.unit), run.tar("candidates", record.unit)
    if tar.name in record.outputs:
        names = {member_name(row["position"]) for row in kept}
        members = write_shard(tar, _samples(run, record.unit, names)).members
        by_name = {name.partition(".")[0]: name for name in members if not name.endswith(".cls")}
        kept = [into_tar({**row, "member": by_name[member_name(row["position"])]}, members) for row in kept]
    write_rows(table, kept, CANDIDATES)
    outputs = {name: file_digest(path.parent / name) for name in record.outputs}
    facts = {**record.facts, "candidates": len(kept), "content": content_of(kept)}
    without = replace(record, settings=settings, outputs=outputs, facts=facts)
    write_record(path, without)
    return without


def _samples(run: RunFolder, unit: str, names: set[str]) -> Iterator[Sample]:
    return (sample for sample in read_shard(run.tar("candidates", unit)) if sample[0] in names)


def _scrub_scores(run: RunFolder, before: Record, now: Record, removed: list[CandidateRow]) -> None:
    """Rewrites a class's scores without some candidates, or drops them if they were out of date."""
    record = _whole_record(run, "realism", before.unit)
    if record is None or record.upstream != {"candidates": before.facts["content"]}:
        drop_unit(run, "realism", before.unit)
        return
    positions, uris = ({row[name] for row in removed} for name in ("position", "source_uri"))
    table = run.table("realism", before.unit)
    kept = [row for row in read_rows(table, SCORES) if row["position"] not in positions]
    write_rows(table, kept, SCORES)
    rejected = [entry for entry in record.facts["rejected"] if entry[1] not in uris]
    facts = {**record.facts, "usable": len(kept), "rejected": rejected}
    if "exact_ranks" in record.facts:  # any of the removed ones may have been among them
        facts["exact_ranks"] = record.facts["exact_ranks"] - len(removed)
    upstream, outputs = {"candidates": now.facts["content"]}, {table.name: file_digest(table)}
    write_record(run.record("realism", before.unit), replace(record, upstream=upstream, outputs=outputs, facts=facts))


def _images_are_free(run: RunFolder, unit: str, forgotten: Forgotten, uris: set[str], positions: set[int]) -> bool:
    """Returns True if a class's images match its selection, and no record or image refers to a forgotten image.

    A source image that was lost when the class was tiled is in no selection; records name it by position and URI.
    """
    selected, tiled = (_whole_record(run, stage, unit) for stage in IMAGE_STAGES)
    if selected is None or not positions.issuperset(selected.facts["lost"]):
        return False
    if _hits(run.table("selection", unit), forgotten):
        return False
    return tiled is not None and tiled.upstream["selection"] == selected.outputs_digest() and _names_none(tiled, uris)


def _names_none(record: Record, uris: set[str]) -> bool:
    """Returns True if none of `uris` is among a record's rejected images."""
    return uris.isdisjoint(uri for _, uri in record.facts["rejected"])


def _may_name(control: RunFolder, forgotten: Forgotten, uris: set[str]) -> bool:
    """Returns True if a control shows or names a forgotten image, or is damaged, so that it may."""
    dataset = DatasetFolder(control.dataset)
    try:
        selected = [row for table in tables_of(control, "selection") for row in _hits(table, forgotten)]
        if selected or not dataset.sums.is_file() or find_uses(dataset, forgotten.sha256):
            return True
    except InputError:
        return True
    stages = ("realism", "squeeze")
    records = (_whole_record(control, stage, unit) for stage in stages for unit in units_of(control, [stage]))
    return any(record is None or not _names_none(record, uris) for record in records)


def _hits(table: Path, forgotten: Forgotten) -> list[LineageRow]:
    """Returns the rows of a selection that show a forgotten image."""
    return find_sources(table, SELECTED, forgotten.sha256)
