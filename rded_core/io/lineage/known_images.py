"""Source images that a run knows: candidates of any class it ever had, and what its source lists."""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path

from rded_core.errors import InputError
from rded_core.io.formats.images import RejectedImage
from rded_core.io.formats.schemas import CANDIDATES, INDEX, LINEAGE
from rded_core.io.formats.tables import find_rows, iterate_rows
from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.layout.run import RunFolder
from rded_core.io.lineage.tables import Row, find_sources, find_uses, is_sha256
from rded_core.io.run.forgotten import is_forgetting, read_begun, read_forgotten
from rded_core.io.run.inventory import unit_of
from rded_core.io.sources.base import SourceItem
from rded_core.io.sources.reading import read_item

Uris = dict[str, set[str]]
"""SHA-256 of images to the URIs under which they are known."""


def tables_of(run: RunFolder, stage: str) -> list[Path]:
    """Lists the tables of a stage, those of classes that are no longer part of the run among them."""
    return sorted(path for path in run.stage(stage).glob("*.parquet") if unit_of(stage, path.name))


def find_candidates(run: RunFolder, names: Collection[str]) -> Iterator[tuple[str, Row]]:
    """Yields the candidates named by URI or SHA-256, each with its class's unit; damaged tables are passed over."""
    for table in tables_of(run, "candidates"):
        try:
            yield from ((table.stem, row) for row in find_sources(table, CANDIDATES, names))
        except InputError:
            continue


def find_listed(run: RunFolder, uris: Collection[str]) -> dict[str, SourceItem]:
    """Returns the images of the source that bear the URIs, as last listed; each listing is read once."""
    wanted = {uri for uri in uris if not is_sha256(uri)}
    keys = wanted | {uri.partition("/")[2] for uri in wanted}  # in tars the URI begins with the tar
    found: dict[str, SourceItem] = {}
    for table in tables_of(run, "index") if wanted else ():
        items = (SourceItem(**row) for row in find_rows(table, INDEX, {"key": keys}))
        found.update((item.uri, item) for item in items if item.uri in wanted)
    return found


def find_images_named(run: RunFolder, names: Collection[str]) -> dict[str, Uris]:
    """Returns, for each name (a URI or SHA-256), the images that bear it.

    They are looked for among the candidates, in the published lineage, in the source as last listed, and in the note of
    a forgetting that has not ended. A SHA-256 always names its image; a URI may name none, or what was replaced too.

    Raises:
        InputError: all that is known of a name is a file of the source that cannot be read.
    """
    rows = [*(row for _, row in find_candidates(run, names)), *_published(run, names)]
    known = [(row["source_uri"], row["source_sha256"]) for row in rows]
    known += [(uri, digest) for digest, uris in read_begun(run).images.items() for uri in uris]
    listed = find_listed(run, names)
    return {name: _bearing(name, known, listed.get(name)) for name in names}


def _bearing(name: str, known: list[tuple[str, str]], item: SourceItem | None) -> Uris:
    """Picks the images that bear a name, of all that are known by URI and SHA-256, and of the source."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for uri, digest in known:
        if name == uri or name.lower() == digest:
            found[digest].add(uri)
    if is_sha256(name):
        return {name.lower(): found[name.lower()]}
    try:
        if item:
            found[hashlib.sha256(read_item(item)).hexdigest()].add(name)
    except RejectedImage as error:
        if not found:
            raise InputError(f"{name!r} of the source cannot be read ({error}); give its SHA-256") from error
    return dict(found)


def _published(run: RunFolder, names: Collection[str]) -> list[Row]:
    """Returns the lineage that names an image; nothing where no dataset is there to be read."""
    try:
        return find_uses(DatasetFolder(run.dataset), names)
    except InputError:
        return []


def forgotten_before(run: RunFolder, names: Collection[str]) -> list[str]:
    """Returns the digests of the images named, where a forgetting that has ended took out all of them; else nothing."""
    forgotten = read_forgotten(run)
    if is_forgetting(run) or not forgotten.sha256:
        return []
    try:
        digests = {digest for found in find_images_named(run, names).values() for digest in found or ("",)}
    except InputError:
        return []
    if not digests <= forgotten.sha256 or any(find_candidates(run, digests)) or _published(run, digests):
        return []
    return sorted(digests)


def example_uri(folder: DatasetFolder) -> str:
    """Returns a URI of a dataset's lineage, to show how they look."""
    return next(
        (str(row["source_uri"]) for table in folder.lineage_tables() for row in iterate_rows(table, LINEAGE)), ""
    )
