"""Label the first views of a block again, and compare views and logits with the table."""

from collections.abc import Iterator
from pathlib import Path

import torch

from rded_core.errors import InputError
from rded_core.io.manifest import find_record
from rded_core.io.paths import block_of
from rded_core.io.soft_label_tables import LabelledBatch, read_epoch
from rded_core.views import Views
from tasks.reopen import Reopened
from tasks.soft_labels import ImagesToLabel, label_passes
from tasks.versions import is_made_as_here

MOST_PASSES = 2
"""Forward passes of a block that are computed again."""

LABEL_TOLERANCE = (4e-3, 4e-2)
"""How far float16 logits of another processor may be off: relative, and absolute."""


def compare_labels(again: Reopened, images: ImagesToLabel, digest: str, table: Path) -> str:
    """Labels the first views of a block again; returns what differs, or nothing.

    Raises:
        InputError: the block was made of other images than those, which have this digest.
    """
    record, _ = find_record(table.with_suffix(".json"))
    if record is None or record.upstream.get("images") != digest:
        raise InputError(f"{table.name} was made of other images than are there: the run was stopped before it")
    exact = is_made_as_here(record)
    block = block_of(table.stem)
    stored = _stored_batches(table, block, images.keys)
    for epoch, now in label_passes(again.plan, block, images, None, most=MOST_PASSES):
        if wrong := _compare_batch(next(stored), now, exact=exact):
            return f"epoch {epoch}: {wrong}"
    return ""


def _stored_batches(table: Path, block: range, keys: list[str]) -> Iterator[LabelledBatch]:
    rows_by_key = {key: row for row, key in enumerate(keys)}
    for number in range(len(block)):
        yield from read_epoch(table, number, rows_by_key)


def _compare_batch(before: LabelledBatch, now: LabelledBatch, *, exact: bool) -> str:
    (rows, views, logits), (rows_now, views_now, logits_now) = before, now
    parts = [(getattr(views, name), getattr(views_now, name)) for name in Views.__slots__]
    if any(not torch.equal(*pair) for pair in [(rows, rows_now), *parts]):
        return "other views are drawn"
    relative, absolute = LABEL_TOLERANCE
    apart = (logits.float() - logits_now.float()).abs()
    is_near = bool((apart <= absolute + relative * logits.float().abs()).all())
    is_off = not torch.equal(logits, logits_now) if exact else not is_near
    return f"logits are off by up to {float(apart.max()):.3g}" if is_off else ""
