"""Index tables: the location of every source image of a class, in draw order."""

from collections.abc import Iterable

from rded_core.errors import InputError
from rded_core.io.formats.schemas import INDEX
from rded_core.io.formats.sealed import digest_of
from rded_core.io.formats.tables import read_rows, write_columns
from rded_core.io.layout.run import RunFolder
from rded_core.io.layout.units import class_unit
from rded_core.io.run.candidates import item_of
from rded_core.io.run.inventory import stage_records
from rded_core.io.run.records import find_record
from rded_core.io.sources.base import Source, SourceItem
from rded_core.seeds import counter_seeds
from rded_core.text.wording import counted
from tasks.run.results import StageResult
from tasks.run.worklist import Scope, Unit, Worklist

STAGE = "index"


def write_index(run: RunFolder, source: Source, *, seed: int, scopes: list[Scope]) -> StageResult:
    """Writes the images of each class in draw order, for the classes whose listing has changed."""
    units = {label.index: _index_unit(run, source, label.index, seed) for label in source.classes}

    def what_is_new(index: int) -> str:
        return describe_difference(_listed(units[index]), source.items[index])

    work = Worklist(units, scopes.__getitem__, why=what_is_new)
    for index in work.stale:
        drawn = draw_order(source.items[index], seed, source.classes[index].folder)
        columns = dict(zip(SourceItem._fields, zip(*drawn, strict=True), strict=True))
        write_columns(units[index].outputs[0], columns, INDEX)
        work.finish(index, {"images": len(drawn)})
    return StageResult(STAGE, work.done, work.left)


def _index_unit(run: RunFolder, source: Source, index: int, seed: int) -> Unit:
    folder = source.classes[index].folder
    name = class_unit(folder)
    return Unit(
        run,
        STAGE,
        name,
        settings={"seed": seed, "class": folder},
        upstream={"images": source.class_digest(index)},
        outputs=(run.table(STAGE, name),),
    )


def _listed(unit: Unit) -> list[SourceItem]:
    """Returns the images of a class that the last run listed; empty if its table cannot be read."""
    try:
        return [SourceItem(**row) for row in read_rows(unit.outputs[0], INDEX)]
    except InputError:
        return []


def describe_difference(before: Iterable[SourceItem], now: Iterable[SourceItem]) -> str:
    """Returns in words how many of a class's images are new, gone, or rewritten; empty if none are.

    An image of the same length with a different stamp may have the same bytes: no image is read here.
    """
    old, new = ({item.key: item for item in items} for items in (before, now))
    both = [(old[key], new[key]) for key in old.keys() & new.keys()]
    resized = sum(was.num_bytes != item.num_bytes for was, item in both)
    stamped = sum(was.num_bytes == item.num_bytes and was.stamp != item.stamp for was, item in both)
    counts = {"new image": len(new.keys() - old.keys()), "gone image": len(old.keys() - new.keys())}
    parts = [counted(count, what) for what, count in {**counts, "changed image": resized}.items() if count]
    parts += [f"{counted(stamped, 'image')} touched or changed"] if stamped else []
    return ", ".join(parts) if old else ""


def draw_order(items: tuple[SourceItem, ...], seed: int, folder: str) -> list[SourceItem]:
    """Returns a class's images, sorted by a seed from (root seed, class, key), so that new images move no other."""
    seeds = counter_seeds(seed, "candidates", folder, last=(item.key for item in items))
    return [item for _, item in sorted(zip(seeds, items, strict=True))]


def are_as_listed(run: RunFolder, source: Source, indices: Iterable[int]) -> bool:
    """Whether a changed source still has the run's classes, and in the given ones the same images."""
    folders = digest_of([label.folder for label in source.classes])
    tables = (find_record(path)[0] for path in stage_records(run) if path.stem.startswith("epochs-"))
    is_same = next((table.settings.get("classes") == folders for table in tables if table), False)
    return is_same and all(is_as_listed(run, source, index) for index in indices)


def is_as_listed(run: RunFolder, source: Source, index: int) -> bool | None:
    """Whether a class has the images that the run drew from, wherever they lie; None if no record or table says."""
    unit = class_unit(source.classes[index].folder)
    record, _ = find_record(run.record(STAGE, unit))
    if record is not None and record.upstream.get("images") == source.class_digest(index):
        return True
    try:
        listed = [item_of(row) for row in read_rows(run.table(STAGE, unit), INDEX)]
    except InputError:
        return None
    there = {(item.uri, item.offset, item.num_bytes) for item in source.items[index]}
    return {(item.uri, item.offset, item.num_bytes) for item in listed} == there
