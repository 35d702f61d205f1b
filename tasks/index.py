"""Index tables: where every source image lies, class by class, in the order it would be drawn."""

from typing import Any

from rded_core.io.manifest import Record
from rded_core.io.paths import ClassShard, RunFolder
from rded_core.io.sources import Source, SourceItem
from rded_core.io.tables import INDEX, write_columns
from rded_core.seeds import counter_seeds
from tasks.units import run_unit

STAGE = "index"


def write_index(run: RunFolder, source: Source, shard: ClassShard, *, seed: int, source_digest: str) -> Record:
    """Writes every image of the shard's classes in draw order."""
    table = run.table(STAGE, shard.name)
    labels = source.classes[shard.start : shard.stop]

    def produce() -> dict[str, Any]:
        drawn = [item for label in labels for item in draw_order(source.items[label.index], seed, label.folder)]
        indices = [label.index for label in labels for _ in source.items[label.index]]
        columns = dict(zip(SourceItem._fields, zip(*drawn, strict=True), strict=True))
        write_columns(table, {"class_index": indices, **columns}, INDEX)
        return {"images": len(drawn)}

    settings = {"seed": seed, "classes": [label.folder for label in source.classes]}
    return run_unit(
        run, STAGE, shard.name, settings=settings, upstream=[source_digest], outputs=[table], produce=produce
    )


def draw_order(items: tuple[SourceItem, ...], seed: int, folder: str) -> list[SourceItem]:
    """Shuffles a class: sorted by a seed drawn from (root seed, class, key), so that new images move no other."""
    seeds = counter_seeds(seed, "candidates", folder, last=(item.key for item in items))
    return [item for _, item in sorted(zip(seeds, items, strict=True))]


def item_of(row: dict[str, Any]) -> SourceItem:
    """Returns the item whose place a table row holds."""
    return SourceItem(row["key"], row["path"], row["offset"], row["num_bytes"], row["in_tar"])
