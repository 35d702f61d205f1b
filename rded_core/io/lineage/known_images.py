"""Source images known to a run: candidates of every class it ever had, and its source as last listed."""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path

from rded_core.errors import InputError
from rded_core.io.formats.images import RejectedImage
from rded_core.io.formats.rows import CandidateRow, LineageRow
from rded_core.io.formats.schemas import CANDIDATES, INDEX, LINEAGE
from rded_core.io.formats.tables import find_rows, iterate_rows
from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.layout.run import RunFolder
from rded_core.io.lineage.tables import find_sources, find_uses, is_sha256
from rded_core.io.run.forgotten import is_forgetting, read_begun, read_forgotten
from rded_core.io.run.inventory import unit_of
from rded_core.io.sources.base import SourceItem
from rded_core.io.sources.reading import read_item

Uris = dict[str, set[str]]
"""Maps the SHA-256 of an image to the URIs it is known under."""


def tables_of(run: RunFolder, stage: str) -> list[Path]:
    """Returns the tables of a stage, including those of classes that have left the run."""
    return sorted(path for path in run.stage(stage).glob("*.parquet") if unit_of(stage, path.name))


def find_candidates(run: RunFolder, names: Collection[str]) -> Iterator[tuple[str, CandidateRow]]:
    """Yields (unit of the class, row) for each candidate named by URI or SHA-256; skips damaged tables."""
    for table in tables_of(run, "candidates"):
        try:
            yield from ((table.stem, row) for row in find_sources(table, CANDIDATES, names))
        except InputError:
            continue


def find_listed(run: RunFolder, uris: Collection[str]) -> dict[str, SourceItem]:
    """Returns the source's images with the given URIs, as last listed; reads each listing once."""
    wanted = {uri for uri in uris if not is_sha256(uri)}
    keys = wanted | {uri.partition("/")[2] for uri in wanted}  # in tars the URI begins with the tar
    matches: dict[str, SourceItem] = {}
    for table in tables_of(run, "index") if wanted else ():
        items = (SourceItem(**row) for row in find_rows(table, INDEX, {"key": keys}))
        matches.update((item.uri, item) for item in items if item.uri in wanted)
    return matches


def find_images_named(run: RunFolder, names: Collection[str]) -> dict[str, Uris]:
    """Returns the images that each name (a URI or SHA-256) refers to.

    Searches the candidates, the published lineage, the source as last listed, and the note of an unfinished forgetting.
    A SHA-256 always names its image; a URI may name none, or several if the file was replaced.

    Raises:
        InputError: a name is known only as a file of the source, and that file cannot be read.
    """
    rows = [*(row for _, row in find_candidates(run, names)), *_published(run, names)]
    pairs = [(row["source_uri"], row["source_sha256"]) for row in rows]
    pairs += [(uri, digest) for digest, uris in read_begun(run).images.items() for uri in uris]
    listed = find_listed(run, names)
    return {name: _images_of_name(name, pairs, listed.get(name)) for name in names}


def _images_of_name(name: str, pairs: list[tuple[str, str]], item: SourceItem | None) -> Uris:
    """Returns the images with a name, from the known pairs of URI and SHA-256 and from the source's item."""
    images: defaultdict[str, set[str]] = defaultdict(set)
    for uri, digest in pairs:
        if name == uri or name.lower() == digest:
            images[digest].add(uri)
    if is_sha256(name):
        return {name.lower(): images[name.lower()]}
    try:
        if item:
            images[hashlib.sha256(read_item(item)).hexdigest()].add(name)
    except RejectedImage as error:
        if not images:
            raise InputError(f"cannot read {name!r} from the source ({error}); give its SHA-256") from error
    return dict(images)


def _published(run: RunFolder, names: Collection[str]) -> list[LineageRow]:
    """Returns the published lineage of the named images; empty if there is no readable dataset."""
    try:
        return find_uses(DatasetFolder(run.dataset), names)
    except InputError:
        return []


def forgotten_before(run: RunFolder, names: Collection[str]) -> list[str]:
    """Returns the digests of the named images if all of them were forgotten before, else an empty list."""
    forgotten = read_forgotten(run)
    if is_forgetting(run) or not forgotten.sha256:
        return []
    try:
        digests = {digest for images in find_images_named(run, names).values() for digest in images or ("",)}
    except InputError:
        return []
    if not digests <= forgotten.sha256 or any(find_candidates(run, digests)) or _published(run, digests):
        return []
    return sorted(digests)


def example_uri(folder: DatasetFolder) -> str:
    """Returns a URI from a dataset's lineage, as an example for messages."""
    return next(
        (str(row["source_uri"]) for table in folder.lineage_tables() for row in iterate_rows(table, LINEAGE)), ""
    )
