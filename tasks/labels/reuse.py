"""Labels of the last run that are still valid after only some images have changed."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rded_core.errors import InputError
from rded_core.io.formats.sealed import DamagedRecord, read_sealed, seal
from rded_core.io.formats.soft_labels import LabelReader, split_batches
from rded_core.io.layout.run import RunFolder
from rded_core.io.layout.units import image_key
from rded_core.io.run.inventory import label_notes
from rded_core.io.run.records import Record, damaged_outputs, find_record, what_changed
from rded_core.io.run.removal import drop_unit, units_of
from rded_core.io.storage.atomic import write_text
from rded_core.labels.codecs import Codec, Encoded
from rded_core.labels.views import Views
from tasks.run.versions import FACT
from tasks.run.worklist import Unit, unit_settings

PASSES = "passes"
"""Fact in a block's record: the number of rows in its forward passes, since other shapes round differently."""

Drawn = tuple[int, int, Tensor, Views]
"""A batch with its views: epoch, number within the epoch, rows of its images, views."""


class EarlierLabels:
    """The labels in a block's table, before the table is rewritten.

    A view's label depends only on its image and its mixing partner, as long as it is computed at its own place in a
    pass of the same shape. So a pass without a changed image gives the same bytes as before.

    Args:
        table: the existing table.
        first_epoch: first epoch of the table.
        changed: for each image, whether it differs from the one that the table was made from.
        keys: keys of the images.
        codec: codec of the labels, the same before and now.
        made_with: device and versions that computed the table.
    """

    def __init__(
        self,
        table: Path,
        first_epoch: int,
        changed: Tensor,
        *,
        keys: list[str],
        codec: Codec,
        made_with: dict[str, str],
    ) -> None:
        self.made_with = made_with
        self.table, self.first_epoch, self.changed = table, first_epoch, changed
        self._reader = LabelReader(keys, codec)
        self.reused = 0
        self._epoch = lru_cache(maxsize=2)(self._read)

    @classmethod
    def find(cls, unit: Unit, images: dict[str, str], codec: Codec, facts: dict[str, Any]) -> "EarlierLabels | None":
        """Returns a block's labels if they were made with the same settings, image keys, kind of device and pass shape.

        Returns None also if all images have changed, or none.

        Args:
            unit: the block's unit, not current.
            images: SHA-256 of every current image by key; noted for the next run.
            codec: codec of the labels.
            facts: facts of the new record about its computation: on another kind of device, or in passes of another
                shape, logits differ.
        """
        note_images(unit.run, unit.upstream["images"], images)
        record, _ = find_record(unit.path)
        if record is None or what_changed(record, unit_settings(unit.settings), None):
            return None
        if _shape_of(record.facts) != _shape_of(facts):
            return None
        before = read_images_noted(unit.run, record.upstream.get("images", ""))
        if list(before) != list(images) or damaged_outputs(unit.path, record):
            return None
        changed = torch.tensor([before[key] != sha for key, sha in images.items()])
        if changed.all() or not changed.any():  # no change: the labels are requested again
            return None
        made_with = record.facts[FACT] if record.facts[FACT] == facts[FACT] else {"device": facts[FACT]["device"]}
        first = unit.settings["epochs"][0]
        return cls(unit.outputs[0], first, changed, keys=list(images), codec=codec, made_with=made_with)

    def labels_of(self, drawn: list[Drawn]) -> Encoded | None:
        """Returns the stored labels of a pass; None if a view shows a changed image, or the table cannot be read."""
        if any(self.changed[torch.cat([rows, rows[views.mix_position]])].any() for _, _, rows, views in drawn):
            return None
        try:
            parts = [self._epoch(epoch)[number] for epoch, number, _, _ in drawn]
        except InputError:
            return None
        self.reused += sum(len(rows) for _, _, rows, _ in drawn)
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def facts(self) -> dict[str, Any]:
        """Returns the facts of a table that reuses these logits; without versions if several computed it."""
        return {"reused_views": self.reused, **({FACT: self.made_with} if self.reused else {})}

    def _read(self, epoch: int) -> list[Encoded]:
        stored = self._reader.read_epoch(self.table, epoch - self.first_epoch)
        return [encoded for _, _, encoded in split_batches(stored)]


def _shape_of(facts: dict[str, Any]) -> tuple[Any, Any]:
    """Returns the kind of device, and the rows of the passes, that a table was computed with."""
    return facts.get(FACT, {}).get("device"), facts.get(PASSES)


def key_images(squeezed: dict[int, Record]) -> dict[str, str]:
    """Returns the SHA-256 of every distilled image by key, classes in order."""
    return {
        image_key(index, number): sha
        for index, record in squeezed.items()
        for number, sha in enumerate(record.facts["sha256"])
    }


def note_images(run: RunFolder, digest: str, images: dict[str, str]) -> None:
    """Notes which images the labels are made from, under the digest of all images."""
    path = run.label_images(digest)
    if not read_images_noted(run, digest):
        write_text(path, seal({"images": images}))


def drop_old_notes(run: RunFolder, digest: str) -> None:
    """Removes notes of images that labels are no longer made from."""
    current = run.label_images(digest)
    for path in label_notes(run):
        if path != current:
            path.unlink()


def drop_old_labels(run: RunFolder, current: list[str]) -> None:
    """Removes label tables of blocks that the run no longer has, and a choice that it no longer makes."""
    for unit in units_of(run, ["soft_labels"]):
        if unit not in current:
            drop_unit(run, "soft_labels", unit)


def read_images_noted(run: RunFolder, digest: str) -> dict[str, str]:
    """Returns the SHA-256 of the images noted under a digest, by key; empty if there is no readable note."""
    try:
        content: dict[str, Any] = read_sealed(run.label_images(digest))
        return content["images"]
    except (OSError, DamagedRecord, KeyError):
        return {}
