"""Labels the first views of a block again, and compares views and labels with the table."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from rded_core.errors import InputError
from rded_core.io.formats.soft_labels import LabelledBatch, LabelReader, split_batches
from rded_core.io.layout.units import block_of
from rded_core.io.run.records import Record, find_record
from rded_core.labels.codecs import Codec
from rded_core.labels.views import Views
from tasks.labels.labeller import load_labeller
from tasks.labels.passes import ImagesToLabel, label_passes
from tasks.run.versions import is_made_as_here
from tasks.verify.reopen import Reopened

MOST_PASSES = 2
"""Forward passes of a block that are computed again."""

LABEL_TOLERANCE = (4e-3, 4e-2)
"""Allowed error of logits from a different processor, on top of their codec's: relative, and absolute."""


def compare_labels(again: Reopened, images: ImagesToLabel, digest: str, table: Path) -> str:
    """Labels the first views of a block again; returns what differs, or nothing.

    Raises:
        InputError: the block was not made from `images`, whose digest is `digest`.
    """
    record, _ = find_record(table.with_suffix(".json"))
    if record is None or record.upstream.get("images") != digest:
        raise InputError(
            f"{table.name} was not made from the present images; a run was stopped before it made the labels again"
        )
    block, labeller = block_of(table.stem), load_labeller(again.plan, _codec_of(record))
    stored = _stored_batches(table, block, LabelReader(images.keys, labeller.codec))
    for epoch, now in label_passes(again.plan, block, images, labeller, most=MOST_PASSES):
        if wrong := _compare_batch(next(stored), now, labeller.codec, exact=is_made_as_here(record)):
            return f"epoch {epoch}: {wrong}"
    return ""


def _codec_of(record: Record) -> str:
    return str(record.settings["codec"])


def _stored_batches(table: Path, block: range, reader: LabelReader) -> Iterator[LabelledBatch]:
    for number in range(len(block)):
        yield from split_batches(reader.read_epoch(table, number))


def _compare_batch(before: LabelledBatch, now: LabelledBatch, codec: Codec, *, exact: bool) -> str:
    (rows, views, encoded), (rows_now, views_now, encoded_now) = before, now
    parts = [(getattr(views, name), getattr(views_now, name)) for name in Views.__slots__]
    if any(not torch.equal(*pair) for pair in [(rows, rows_now), *parts]):
        return "different views are drawn"
    apart, allowed = _compare_logits(codec, codec.decode(encoded), codec.decode(encoded_now), codec.error(encoded))
    is_equal = all(torch.equal(encoded[name], encoded_now[name]) for name in encoded)
    is_off = not is_equal if exact else bool((apart > allowed).any())
    return f"logits are off by up to {float(apart.max()):.3g}" if is_off else ""


def _compare_logits(codec: Codec, before: Tensor, now: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the errors of logits, and the allowed errors; for ``topk``, of the stored logits only."""
    if error.isinf().any():
        kept = int(codec.name.partition(":")[2])
        before, now = (logits.sort(dim=1, descending=True).values[:, :kept] for logits in (before, now))
        error = torch.zeros(len(before))
    relative, absolute = LABEL_TOLERANCE
    return (before - now).abs(), absolute + relative * before.abs() + 2 * error[:, None]
