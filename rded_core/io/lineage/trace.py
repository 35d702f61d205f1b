"""Trace distilled images to their source images and back; reads only, and needs no Prefect server."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from rded_core.errors import InputError
from rded_core.io.dataset.distilled import DistilledDataset
from rded_core.io.formats.images import RejectedImage, decode_image
from rded_core.io.formats.schemas import CANDIDATES
from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.layout.run import RunFolder, find_dataset
from rded_core.io.layout.units import class_unit
from rded_core.io.lineage.known_images import Uris, example_uri, find_images_named
from rded_core.io.lineage.pictures import TracedPatch, draw_lineage, require_picture_place, write_picture
from rded_core.io.lineage.tables import (
    TracedImage,
    find_images,
    find_sources,
    find_uses,
    is_sha256,
    read_distilled,
    require_lineage,
)
from rded_core.io.run.candidates import read_candidate
from rded_core.io.run.forgotten import is_forgetting, read_forgotten
from rded_core.io.run.run_json import read_run
from rded_core.io.sources.base import SourceClass, SourceItem
from rded_core.io.sources.reading import read_item
from rded_core.io.sources.spec import open_source

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trace:
    """A distilled image's lineage, for people.

    Attributes:
        key: the image.
        label: its class.
        rows: its lineage, quadrants row by row.
        picture: the file that shows it, None where there is none.
        note: why there is no picture, or what is missing in it.
    """

    key: str
    label: SourceClass
    rows: list[Row]
    picture: Path | None
    note: str


class SourceImages:
    """Source images of a dataset: from its run's candidates, else from a source.

    Args:
        run: the dataset's run folder, None where it lies alone.
        spec: where the source lies; by default where the run found it.
    """

    def __init__(self, run: RunFolder | None, spec: str | None) -> None:
        self.run, self.spec = run, spec

    def read(self, row: Row, folder: str) -> Tensor:
        """Returns the source image of a row of lineage, of a class.

        Raises:
            RejectedImage: it is gone, or is another by now.
        """
        data = self._from_run(row, class_unit(folder)) or self._from_source(row)
        return decode_image(data)

    def _from_run(self, row: Row, unit: str) -> bytes | None:
        if self.run is None:
            return None
        try:
            found = find_sources(self.run.table("candidates", unit), CANDIDATES, [row["source_sha256"]])
            return read_candidate(self.run, unit, found[0], verify=True) if found else None
        except (InputError, RejectedImage):
            return None

    def _from_source(self, row: Row) -> bytes:
        try:
            item = self._items.get(row["source_uri"])
            data = read_item(item) if item else b""
        except InputError as error:
            raise RejectedImage("missing", str(error)) from error
        if item is None:
            raise RejectedImage("missing", "no such file in the source")
        if hashlib.sha256(data).hexdigest() != row["source_sha256"]:
            raise RejectedImage("changed")
        return data

    @cached_property
    def _items(self) -> dict[str, SourceItem]:
        spec = self.spec or (read_run(self.run)["config"]["source"] if self.run else None)
        if spec is None:
            raise InputError("no source known")
        return {item.uri: item for items in open_source(spec).items for item in items}


def trace_images(
    path: str, keys: list[str], *, picture: str | None = None, images_from: str | None = None
) -> list[Trace]:
    """Finds out where distilled images come from, and draws each one's picture.

    Args:
        path: a run folder, or a dataset's.
        keys: of the images.
        picture: the file to draw; by default ``KEY.jpg`` in the current folder. Of several keys, a folder.
        images_from: the source, where the dataset lies without its run.

    Raises:
        InputError: no such image, or no picture can be written where it was asked for.
    """
    folder, run = find_dataset(path)
    images = find_images(folder, keys)
    places = [_picture_place(image.key, picture, num_keys=len(images)) for image in images]
    apart = [place.root for place in (folder, run) if place]
    if picture:
        for place in places:
            require_picture_place(place, *apart)
    sources = SourceImages(run, images_from)
    labels = DistilledDataset(folder).classes
    return [
        _trace(image, labels[image.class_index], sources, place, apart)
        for image, place in zip(images, places, strict=True)
    ]


def _picture_place(key: str, picture: str | None, *, num_keys: int) -> Path:
    if picture is None:
        return Path(f"{key}.jpg")
    if Path(picture).is_dir():
        return Path(picture) / f"{key}.jpg"
    if num_keys > 1:
        raise InputError(f"--picture {picture} is one file for {num_keys} images; give a folder that is there")
    return Path(picture)


def _trace(image: TracedImage, label: SourceClass, sources: SourceImages, place: Path, apart: list[Path]) -> Trace:
    if sources.run is None and sources.spec is None:
        note = "the dataset lies without its run folder; give --images-from SOURCE"
        return Trace(image.key, label, image.rows, None, note)
    try:
        require_picture_place(place, *apart)
    except InputError as error:
        return Trace(image.key, label, image.rows, None, f"{error}; give --picture FILE")
    patches = [_patch(row, label.folder, sources) for row in image.rows]
    missing = [f"quadrant {row['quadrant']}: {patch.missing}" for row, patch in zip(image.rows, patches, strict=True)]
    note = "; ".join(text for text, patch in zip(missing, patches, strict=True) if patch.image is None)
    if all(patch.image is None for patch in patches):
        return Trace(image.key, label, image.rows, None, note)
    write_picture(place, draw_lineage(f"{image.key}  {label.name}", read_distilled(image), patches))
    return Trace(image.key, label, image.rows, place, note)


def _patch(row: Row, folder: str, sources: SourceImages) -> TracedPatch:
    box = (row["box_top"], row["box_left"], row["box_height"], row["box_width"])
    caption = (row["source_uri"], f"rank {row['rank']}, {describe_score(row)}")
    try:
        return TracedPatch(caption=caption, box=box, image=sources.read(row, folder))
    except RejectedImage as error:
        return TracedPatch(caption=caption, box=box, image=None, missing=f"source image {error}")


def describe_score(row: Row) -> str:
    """Says a patch's score."""
    return "not scored" if row["score_nats"] is None else f"score {row['score_nats']:.4g} nats"


@dataclass(frozen=True, slots=True)
class Use:
    """A quadrant that shows a source image: its row of lineage, and its class."""

    row: Row
    label: SourceClass


@dataclass(frozen=True, slots=True)
class SourceTrace:
    """Where a source image is shown.

    Attributes:
        name: its URI or SHA-256, as asked for.
        uses: the quadrants that show it.
        note: that it was forgotten; else nothing.
    """

    name: str
    uses: list[Use]
    note: str


def trace_sources(path: str, names: list[str]) -> list[SourceTrace]:
    """Returns, for each source image named by URI or SHA-256, the quadrants that show it.

    Raises:
        InputError: nothing is known of a URI, so that it may be mistyped.
    """
    folder, run = find_dataset(path)
    require_lineage(folder)
    labels = DistilledDataset(folder).classes
    rows = find_uses(folder, names)
    named = find_images_named(run, names) if run else dict[str, Uris]()
    traces: list[SourceTrace] = []
    for name in names:
        shown = [row for row in rows if name == row["source_uri"] or name.lower() == row["source_sha256"]]
        if not (shown or is_sha256(name) or named.get(name)):
            raise _unknown_source(name, folder)
        uses = [Use(row, labels[row["class_index"]]) for row in shown]
        traces.append(SourceTrace(name, uses, _note_forgotten(named.get(name, {}), run)))
    return traces


def _note_forgotten(images: Uris, run: RunFolder | None) -> str:
    """Says that images were forgotten; nothing where they were not."""
    if run is None or images.keys().isdisjoint(read_forgotten(run).sha256):
        return ""
    return (
        f"begun, and not ended: rded forget {run.root} does the rest" if is_forgetting(run) else "no run here uses it"
    )


def _unknown_source(name: str, folder: DatasetFolder) -> InputError:
    """Returns the error of a URI that may be mistyped: that nothing shows it would be false comfort."""
    return InputError(
        f"no image {name!r} is known here; give its SHA-256 (all that is kept of one that was forgotten), or its URI "
        f"as lineage names it, such as {example_uri(folder)}"
    )
