"""Source images that a run knows: candidates of any class it ever had, and what its source lists."""

from collections.abc import Collection, Iterator
from pathlib import Path

from rded_core.errors import InputError
from rded_core.io.lineage import Row, find_sources
from rded_core.io.paths import DatasetFolder, RunFolder
from rded_core.io.sources import SourceItem
from rded_core.io.tables import CANDIDATES, INDEX, LINEAGE, find_rows, iterate_rows


def tables_of(run: RunFolder, stage: str) -> list[Path]:
    """Lists the tables of a stage, those of classes that are no longer part of the run among them."""
    return sorted(run.stage(stage).glob("*.parquet"))


def find_candidates(run: RunFolder, names: Collection[str]) -> Iterator[tuple[str, Row]]:
    """Yields the candidates named by URI or SHA-256, each with its class's unit; damaged tables are passed over."""
    for table in tables_of(run, "candidates"):
        try:
            yield from ((table.stem, row) for row in find_sources(table, CANDIDATES, names))
        except InputError:
            continue


def find_listed(run: RunFolder, uri: str) -> SourceItem | None:
    """Returns the image of the source that bears a URI, as last listed."""
    keys = {uri, uri.partition("/")[2]}  # in tars the URI begins with the tar
    for table in tables_of(run, "index"):
        items = (SourceItem(**row) for row in find_rows(table, INDEX, {"key": keys}))
        if found := next((item for item in items if item.uri == uri), None):
            return found
    return None


def example_uri(folder: DatasetFolder) -> str:
    """Returns a URI of a dataset's lineage, to show how they look."""
    return next(
        (str(row["source_uri"]) for table in folder.lineage_tables() for row in iterate_rows(table, LINEAGE)), ""
    )
