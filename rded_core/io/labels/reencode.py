"""A new dataset with the labels of another in a different codec, or fewer epochs; the teacher is not needed."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from rded_core import __version__
from rded_core.errors import InputError
from rded_core.io.formats.soft_labels import EPOCHS_PER_FILE, LabelledBatch, write_soft_labels
from rded_core.io.formats.sums import write_sums
from rded_core.io.labels.choices import (
    LabelSample,
    choose_labels_within,
    describe_choices,
    describe_excess,
    list_codecs,
    sample_epochs,
)
from rded_core.io.labels.stored import StoredLabels
from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.layout.run import RunFolder
from rded_core.io.layout.units import block_name, epoch_blocks
from rded_core.io.report.card import write_readme
from rded_core.io.report.croissant import write_croissant
from rded_core.io.report.page import describe_labels
from rded_core.io.run.run_json import holds_run
from rded_core.io.storage.atomic import remove_abandoned, temporary_name, write_json, write_text
from rded_core.io.storage.files import link_or_copy, os_errors_as_input_errors, require_new, require_writable
from rded_core.labels.budget import divergence, reuse_loss, signal, spread_over_views
from rded_core.labels.codecs import Codec, Encoded, find_codec, row_bytes

EXACTNESS = ("float16", "int8", "features", "int4", "topk")
"""Codecs from the most to the least exact. A budget skips those that are more exact than the present labels and not
smaller."""


def reencode(
    where: str,
    out: Path,
    *,
    codec: str | None = None,
    epochs: int | None = None,
    budget: int | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Writes a dataset folder with the images of another and its first `epochs` epochs of labels in `codec`.

    With a `budget`, the codec (unless given) and the number of epochs are those that lose least within it.

    Args:
        where: a run folder, or a dataset.
        out: folder of the new dataset, which must not exist yet.
        codec: codec of the new labels; by default the present one.
        epochs: number of epochs to keep; by default all.
        budget: size limit of the labels in bytes.
        log: called with each line of the table that shows the choices within a budget.

    Returns:
        A record of what was written: codec, epochs, bytes before and after, and the loss.

    Raises:
        InputError: the codec or the budget is impossible for these labels, a file is damaged, or `out` is not free.
    """
    _require_place(out, Path(where))
    labels = StoredLabels(where)
    why = None
    if budget is not None:
        choice = _choose(labels, budget, codec)
        codec, epochs, why = choice["codec"], choice["epochs"], choice["why"]
        for line in describe_choices(why, choice["codec"], choice["epochs"]):
            log(line)
    target = _find_target(labels, codec or labels.codec.name)
    epochs = _require_epochs(labels, labels.num_epochs if epochs is None else epochs)
    if (target.name, epochs) == (labels.codec.name, labels.num_epochs):
        raise InputError(
            f"{where} already holds {epochs} epochs of labels as {target.name}; give another --codec, or fewer --epochs"
        )
    with os_errors_as_input_errors(out):
        return _write_new(labels, out, target, epochs, why)


def _require_place(out: Path, where: Path) -> None:
    """Raises InputError if `out` exists, cannot be written, or lies inside a run or the dataset itself."""
    require_new(out)
    parents = out.resolve().parents
    inside = next((path for path in parents if holds_run(RunFolder(path)) or path == where.resolve()), None)
    if inside is not None:
        raise InputError(f"--out {out} lies inside {inside}, which may hold no other files; choose a folder outside it")
    require_writable(out.parent)


def _find_target(labels: StoredLabels, name: str) -> Codec:
    if name == "features" and labels.head is None:
        raise InputError(
            f"{labels.folder.root} stores {labels.codec.name}, and features cannot be computed from logits; "
            "distil again with --label-codec features"
        )
    return find_codec(name, num_classes=len(labels.classes), temperature=labels.temperature, head=labels.head)


def _require_epochs(labels: StoredLabels, epochs: int) -> int:
    if not 1 <= epochs <= labels.num_epochs:
        raise InputError(
            f"--epochs must be between 1 and {labels.num_epochs}, got {epochs}; {labels.folder.root} stores no more"
        )
    return epochs


def _choose(labels: StoredLabels, budget: int, codec: str | None) -> dict[str, Any]:
    """Returns the codec and number of epochs that lose least within a budget, and why."""
    names = [codec] if codec else _codecs_no_finer(labels)
    sample, stored = _sample(labels, labels.num_epochs)

    def encodings() -> Iterator[tuple[Codec, Encoded]]:
        for name in names:
            target = _find_target(labels, name)
            yield target, _in_codec(labels, target, stored)

    return choose_labels_within(budget, sample, encodings(), wanted=labels.num_epochs)


def _codecs_no_finer(labels: StoredLabels) -> list[str]:
    """Returns the codecs to try: the present one, and those that are less exact or smaller."""
    own, names = labels.codec.name, list_codecs(len(labels.classes), with_features=False)
    num_bytes = {name: row_bytes(_find_target(labels, name)) for name in (own, *names)}
    return [
        own,
        *(name for name in names if name != own and (num_bytes[name] < num_bytes[own] or not keeps_more(name, own))),
    ]


def keeps_more(codec: str, other: str) -> bool:
    """Returns True if a codec is more exact than another."""
    (kind, _, top), (other_kind, _, other_top) = codec.partition(":"), other.partition(":")
    if kind == other_kind:
        return int(top or 0) > int(other_top or 0)
    return EXACTNESS.index(kind) < EXACTNESS.index(other_kind)


def _sample(labels: StoredLabels, most: int) -> tuple[LabelSample, Encoded]:
    """Returns a sample of the first epochs, at most `most` of them, and its labels as stored."""
    epochs = range(min(sample_epochs(len(labels.keys)), most))
    batches = [batch for _, batch in labels.batches(epochs)]
    stored = {name: torch.cat([batch[2][name] for batch in batches]) for name in batches[0][2]}
    logits = labels.codec.decode(stored)
    source = f"views with their labels as {labels.codec.name}"
    return LabelSample(batches, logits, labels.keys, labels.class_indices, labels.temperature, source), stored


def _in_codec(labels: StoredLabels, target: Codec, stored: Encoded) -> Encoded:
    """Returns labels in the target codec, untouched if they already are."""
    return stored if target.name == labels.codec.name else target.encode(labels.codec.decode(stored))


def _write_new(
    labels: StoredLabels, out: Path, target: Codec, epochs: int, why: dict[str, Any] | None
) -> dict[str, Any]:
    """Builds the dataset under a temporary name and renames it when it is complete; returns the record."""
    out.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(out.parent, re.escape(out.name))
    staged = DatasetFolder(temporary_name(out))
    try:
        _copy_other_files(labels, staged)
        _write_tables(labels, staged, target, epochs)
        losses = _measure_loss(labels, target, epochs)
        recipe = _new_recipe(labels, target, epochs, why=why, losses=losses)
        _describe(labels, staged, recipe)
        labels.require_unchanged()
        staged.root.rename(out)
    finally:
        shutil.rmtree(staged.root, ignore_errors=True)
    new = DatasetFolder(out)
    num_bytes = new.label_bytes()
    return {
        "dataset": str(out),
        "codec": target.name,
        "epochs": epochs,
        "training_epochs": labels.training_epochs,
        "bytes": num_bytes,
        "excess": describe_excess(why, num_bytes, "--budget"),
        "before": {"codec": labels.codec.name, "epochs": labels.num_epochs, "bytes": labels.folder.label_bytes()},
        **losses,
    }


def _copy_other_files(labels: StoredLabels, staged: DatasetFolder) -> None:
    """Links or copies the files that do not depend on the labels, after checking that each is whole."""
    old = labels.folder
    paths = [old.classes, *old.image_tars(), *old.lineage_tables(), *filter(Path.is_file, [old.mosaics])]
    labels.require_whole(paths)
    for path in paths:
        link_or_copy(path, staged.root / path.relative_to(old.root))


def _write_tables(labels: StoredLabels, staged: DatasetFolder, target: Codec, epochs: int) -> None:
    metadata = {name: value for name, value in labels.metadata().items() if name not in ("schema_version", "codec")}
    for block in epoch_blocks(epochs, EPOCHS_PER_FILE):
        write_soft_labels(
            staged.soft_labels(block_name(block)),
            _recoded(labels, block, target),
            keys=labels.keys,
            class_indices=labels.class_indices,
            codec=target,
            metadata=metadata,
        )
    if target.name == "features":
        link_or_copy(labels.folder.teacher_head, staged.teacher_head)


def _recoded(labels: StoredLabels, block: range, target: Codec) -> Iterator[tuple[int, LabelledBatch]]:
    for epoch, (rows, views, stored) in labels.batches(block):
        yield epoch, (rows, views, _in_codec(labels, target, stored))


def _measure_loss(labels: StoredLabels, target: Codec, epochs: int) -> dict[str, float]:
    """Returns the losses of rounding and of fewer epochs, and the labels' signal, in nats, on the first epochs."""
    sample, stored = _sample(labels, max(epochs, min(EPOCHS_PER_FILE, labels.num_epochs)))
    decoded = target.decode(_in_codec(labels, target, stored))
    image = torch.cat([batch[0] for batch in sample.batches])
    spread = float(spread_over_views(sample.logits, image, temperature=labels.temperature))
    return {
        "loss_nats": float(divergence(sample.logits, decoded, temperature=labels.temperature).mean()),
        "reuse_nats": reuse_loss(spread, epochs=epochs, wanted=labels.num_epochs),
        "signal_nats": float(signal(sample.logits, temperature=labels.temperature).mean()),
    }


def _new_recipe(
    labels: StoredLabels, target: Codec, epochs: int, *, why: dict[str, Any] | None, losses: dict[str, float]
) -> dict[str, Any]:
    """Returns the new dataset's recipe: training stays as it was, the entries on stored labels are replaced."""
    before = {"codec": labels.codec.name, "epochs": labels.num_epochs, **losses}
    changes = {
        "epochs": labels.training_epochs,
        "label_epochs": epochs,
        "label_codec": target.name,
        **({"label_choice": why} if why else {}),
        "labels_from": [*labels.recipe.get("labels_from", []), before],
        "labels_written_by": f"rded {__version__}",
    }
    kept = {name: value for name, value in labels.recipe.items() if name not in (*changes, "label_choice")}
    return {**kept, **changes}


def _describe(labels: StoredLabels, staged: DatasetFolder, recipe: dict[str, Any]) -> None:
    """Writes the small files that describe the labels, and the checksums."""
    classes = json.loads(staged.classes.read_text(encoding="utf-8"))
    write_json(staged.recipe, recipe)
    write_readme(staged, recipe=recipe, classes=classes)
    write_croissant(staged, recipe=recipe, name="distilled")
    report = labels.folder.report
    if report.is_file():
        labels.require_whole([report])
        text = report.read_text(encoding="utf-8")
        write_text(staged.report, text.replace(describe_labels(labels.recipe), describe_labels(recipe)))
    write_sums(staged)
