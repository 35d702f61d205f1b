"""Traces distilled images to their source images and back; read-only, without a Prefect server."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor

from rded_core.errors import InputError
from rded_core.io.dataset.distilled import DistilledDataset
from rded_core.io.formats.images import RejectedImage, decode_image
from rded_core.io.formats.rows import LineageRow
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


@dataclass(frozen=True, slots=True)
class Trace:
    """Lineage of a distilled image, for display.

    Attributes:
        key: key of the image.
        label: its class.
        rows: its rows of lineage, one per quadrant, row by row.
        picture: file with its picture, None if none was drawn.
        note: why there is no picture, or what is missing in it.
    """

    key: str
    label: SourceClass
    rows: list[LineageRow]
    picture: Path | None
    note: str


class SourceImages:
    """Source images of a dataset, read from its run's candidates or else from its source.

    Args:
        run: the dataset's run folder, None if the dataset is alone.
        spec: spec of the source; by default the one in the run's config.
    """

    def __init__(self, run: RunFolder | None, spec: str | None) -> None:
        self.run, self.spec = run, spec

    def read(self, row: LineageRow, folder: str) -> Tensor:
        """Returns the source image of a row of lineage; `folder` is the folder of its class.

        Raises:
            RejectedImage: the image is missing, or has changed since.
        """
        data = self._from_run(row, class_unit(folder)) or self._from_source(row)
        return decode_image(data)

    def _from_run(self, row: LineageRow, unit: str) -> bytes | None:
        if self.run is None:
            return None
        try:
            rows = find_sources(self.run.table("candidates", unit), CANDIDATES, [row["source_sha256"]])
            return read_candidate(self.run, unit, rows[0], verify=True) if rows else None
        except (InputError, RejectedImage):
            return None

    def _from_source(self, row: LineageRow) -> bytes:
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
            raise InputError("the dataset has no run that names its source")
        return {item.uri: item for items in open_source(spec).items for item in items}


def trace_images(
    path: str, keys: list[str], *, picture: str | None = None, images_from: str | None = None
) -> list[Trace]:
    """Returns the lineage of distilled images, and draws a picture of each.

    Args:
        path: a run folder, or a dataset folder.
        keys: keys of the images.
        picture: file to draw, or an existing folder (needed for several keys); by default ``KEY.jpg`` here.
        images_from: spec of the source, if the dataset is without its run.

    Raises:
        InputError: a key is unknown, or `picture` cannot be written.
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
        raise InputError(f"--picture {picture} is one file for {num_keys} images; give an existing folder")
    return Path(picture)


def _trace(image: TracedImage, label: SourceClass, sources: SourceImages, place: Path, apart: list[Path]) -> Trace:
    if sources.run is None and sources.spec is None:
        note = "the dataset is not in its run folder; give --images-from SOURCE"
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


def _patch(row: LineageRow, folder: str, sources: SourceImages) -> TracedPatch:
    box = (row["box_top"], row["box_left"], row["box_height"], row["box_width"])
    caption = (row["source_uri"], f"rank {row['rank']}, {describe_score(row)}")
    try:
        return TracedPatch(caption=caption, box=box, image=sources.read(row, folder))
    except RejectedImage as error:
        return TracedPatch(caption=caption, box=box, image=None, missing=f"source image {error}")


def describe_score(row: LineageRow) -> str:
    """Returns a patch's realism score in words."""
    return "not scored" if row["score_nats"] is None else f"score {row['score_nats']:.4g} nats"


@dataclass(frozen=True, slots=True)
class Use:
    """A quadrant cut from a source image: its row of lineage, and its class."""

    row: LineageRow
    label: SourceClass


@dataclass(frozen=True, slots=True)
class SourceTrace:
    """Uses of a source image.

    Attributes:
        name: its URI or SHA-256, as given.
        uses: quadrants cut from it.
        note: state of its forgetting; empty if it was not forgotten.
    """

    name: str
    uses: list[Use]
    note: str


def trace_sources(path: str, names: list[str]) -> list[SourceTrace]:
    """Returns the uses of each source image, given by URI or SHA-256.

    Raises:
        InputError: a URI is unknown, so it may be mistyped.
    """
    folder, run = find_dataset(path)
    require_lineage(folder)
    labels = DistilledDataset(folder).classes
    rows = find_uses(folder, names)
    named = find_images_named(run, names) if run else dict[str, Uris]()
    traces: list[SourceTrace] = []
    for name in names:
        matches = [row for row in rows if name == row["source_uri"] or name.lower() == row["source_sha256"]]
        if not (matches or is_sha256(name) or named.get(name)):
            raise _unknown_source(name, folder)
        uses = [Use(row, labels[row["class_index"]]) for row in matches]
        traces.append(SourceTrace(name, uses, _note_forgotten(named.get(name, {}), run)))
    return traces


def _note_forgotten(images: Uris, run: RunFolder | None) -> str:
    """Returns the state of the images' forgetting; empty if they were not forgotten."""
    if run is None or images.keys().isdisjoint(read_forgotten(run).sha256):
        return ""
    return f"unfinished; run rded forget {run.root} to finish" if is_forgetting(run) else "no run here uses it"


def _unknown_source(name: str, folder: DatasetFolder) -> InputError:
    """Returns the error for a URI that may be mistyped: an empty result could be taken for "not used"."""
    return InputError(
        f"unknown image {name!r}; give its URI as in the lineage, such as {example_uri(folder)}, or its SHA-256 "
        "(all that is kept of a forgotten image)"
    )
