"""Labels of the last run that are still true where only some images have changed since."""

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
"""Under this name a block's record says how many rows its forward passes have: other shapes round otherwise."""

Drawn = tuple[int, int, Tensor, Views]
"""A batch with its views: epoch, number in the epoch, rows of its images, views."""


class LabelsBefore:
    """The labels of a block's table before it is written anew.

    A view's label depends on its image and its mixing partner alone, as long as it is computed at its own place in a
    pass of the same shape; so a pass without a changed image gives the bytes it gave.

    Args:
        table: as it lies there.
        first_epoch: of the table.
        changed: for each image, whether it is another than the table was made from.
        keys: of the images.
        codec: in which the labels are stored, before as now.
        made_with: what it was computed with.
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
    def find(cls, unit: Unit, images: dict[str, str], codec: Codec, facts: dict[str, Any]) -> "LabelsBefore | None":
        """Finds a block's labels where they were made under the same settings, from images of the same keys, alike.

        Args:
            unit: the block's unit, not current.
            images: key to SHA-256 of every image now; noted for the next time.
            codec: in which labels are stored.
            facts: what its record is going to say of how it is computed: on another kind of device, or in passes of
                another shape, logits are not the same.
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
        if changed.all() or not changed.any():  # none: the labels are asked for again
            return None
        made = record.facts[FACT] if record.facts[FACT] == facts[FACT] else {"device": facts[FACT]["device"]}
        first = unit.settings["epochs"][0]
        return cls(unit.outputs[0], first, changed, keys=list(images), codec=codec, made_with=made)

    def labels_of(self, drawn: list[Drawn]) -> Encoded | None:
        """Returns the labels of a pass as stored, None where one of its views shows a changed image."""
        if any(self.changed[torch.cat([rows, rows[views.mix_position]])].any() for _, _, rows, views in drawn):
            return None
        try:
            parts = [self._epoch(epoch)[number] for epoch, number, _, _ in drawn]
        except InputError:
            return None
        self.reused += sum(len(rows) for _, _, rows, _ in drawn)
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def facts(self) -> dict[str, Any]:
        """Returns what a table with logits of this one says of itself: no versions, where it is of several."""
        return {"reused_views": self.reused, **({FACT: self.made_with} if self.reused else {})}

    def _read(self, epoch: int) -> list[Encoded]:
        found = self._reader.read_epoch(self.table, epoch - self.first_epoch)
        return [encoded for _, _, encoded in split_batches(found)]


def _shape_of(facts: dict[str, Any]) -> tuple[Any, Any]:
    """Returns the kind of device and the rows of the passes that a table was computed with."""
    return facts.get(FACT, {}).get("device"), facts.get(PASSES)


def key_images(squeezed: dict[int, Record]) -> dict[str, str]:
    """Returns key to SHA-256 of every distilled image, of the classes in order."""
    return {
        image_key(index, number): sha
        for index, record in squeezed.items()
        for number, sha in enumerate(record.facts["sha256"])
    }


def note_images(run: RunFolder, digest: str, images: dict[str, str]) -> None:
    """Notes which images labels are made from, under the digest of all."""
    path = run.label_images(digest)
    if not read_images_noted(run, digest):
        write_text(path, seal({"images": images}))


def drop_old_notes(run: RunFolder, digest: str) -> None:
    """Removes the notes of images that no label is made from any more."""
    current = run.label_images(digest)
    for path in label_notes(run):
        if path != current:
            path.unlink()


def drop_old_labels(run: RunFolder, current: list[str]) -> None:
    """Removes label tables of blocks of epochs that are recorded no more, and a choice that is made no more."""
    for unit in units_of(run, ["soft_labels"]):
        if unit not in current:
            drop_unit(run, "soft_labels", unit)


def read_images_noted(run: RunFolder, digest: str) -> dict[str, str]:
    """Returns key to SHA-256 of the images noted under a digest; none where there is no such note."""
    try:
        content: dict[str, Any] = read_sealed(run.label_images(digest))
        return content["images"]
    except (OSError, DamagedRecord, KeyError):
        return {}
