"""A dataset's labels in another codec, or fewer epochs of them, as a new dataset; the teacher is not needed."""

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
from rded_core.io.storage.files import link_or_copy, require_new, require_writable, told_plainly
from rded_core.labels.budget import divergence, reuse_loss, signal, spread_over_views
from rded_core.labels.codecs import Codec, Encoded, find_codec, row_bytes

EXACTNESS = ("float16", "int8", "features", "int4", "topk")
"""Codecs by what they keep: a budget tries none that keeps more than the labels at hand have, in no less room."""


def reencode(
    where: str,
    out: Path,
    *,
    codec: str | None = None,
    epochs: int | None = None,
    budget: int | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Writes a dataset folder with the images of another and its first `epochs` epochs of labels in `codec`.

    With a `budget` in bytes, codec (unless given) and epochs are those that lose least within it.

    Args:
        where: a run folder, or a dataset.
        out: the new dataset's folder, which must not be there yet.
        codec: by default the one at hand.
        epochs: by default all.
        budget: most bytes of labels.
        tell: takes the lines of the table that a budget is decided by.

    Returns:
        A record of what was written: codec, epochs, bytes before and after, and what rounding loses.

    Raises:
        InputError: the labels cannot be had in that codec or within the budget, or a file is damaged or in the way.
    """
    _require_place(out, Path(where))
    labels = StoredLabels(where)
    why = None
    if budget is not None:
        taken = _choose(labels, budget, codec)
        codec, epochs, why = taken["codec"], taken["epochs"], taken["why"]
        for line in describe_choices(why, taken["codec"], taken["epochs"]):
            tell(line)
    target = _find_target(labels, codec or labels.codec.name)
    epochs = _require_epochs(labels, labels.num_epochs if epochs is None else epochs)
    if (target.name, epochs) == (labels.codec.name, labels.num_epochs):
        raise InputError(f"{where} holds {epochs} epochs of labels as {target.name} already; nothing would change")
    with told_plainly(out):
        return _write_new(labels, out, target, epochs, why)


def _require_place(out: Path, where: Path) -> None:
    """Raises InputError where no dataset may be written: it is there, or inside a run or the dataset itself."""
    require_new(out)
    parents = out.resolve().parents
    inside = next((path for path in parents if holds_run(RunFolder(path)) or path == where.resolve()), None)
    if inside is not None:
        raise InputError(f"--out {out} lies inside {inside}, whose files are all accounted for; choose another place")
    require_writable(out.parent)


def _find_target(labels: StoredLabels, name: str) -> Codec:
    if name == "features" and labels.head is None:
        raise InputError(
            f"{labels.folder.root} stores {labels.codec.name}, and features cannot be made from logits; distil again "
            "with --label-codec features"
        )
    return find_codec(name, num_classes=len(labels.classes), temperature=labels.temperature, head=labels.head)


def _require_epochs(labels: StoredLabels, epochs: int) -> int:
    if not 1 <= epochs <= labels.num_epochs:
        raise InputError(
            f"--epochs {epochs} is not among the 1 to {labels.num_epochs} epochs that {labels.folder.root} stores"
        )
    return epochs


def _choose(labels: StoredLabels, budget: int, codec: str | None) -> dict[str, Any]:
    """Finds the codec and the epochs that lose least of the labels at hand within a budget."""
    names = [codec] if codec else _codecs_no_finer(labels)
    sample, stored = _sample(labels, labels.num_epochs)

    def encodings() -> Iterator[tuple[Codec, Encoded]]:
        for name in names:
            target = _find_target(labels, name)
            yield target, _in_codec(labels, target, stored)

    return choose_labels_within(budget, sample, encodings(), wanted=labels.num_epochs)


def _codecs_no_finer(labels: StoredLabels) -> list[str]:
    """Lists the codecs to try: the one at hand, and those that keep less or take less room."""
    own, names = labels.codec.name, list_codecs(len(labels.classes), with_features=False)
    room = {name: row_bytes(_find_target(labels, name)) for name in (own, *names)}
    return [own, *(name for name in names if name != own and (room[name] < room[own] or not keeps_more(name, own)))]


def keeps_more(codec: str, other: str) -> bool:
    """Tells whether a codec could hold more than another does."""
    (kind, _, top), (other_kind, _, other_top) = codec.partition(":"), other.partition(":")
    if kind == other_kind:
        return int(top or 0) > int(other_top or 0)
    return EXACTNESS.index(kind) < EXACTNESS.index(other_kind)


def _sample(labels: StoredLabels, most: int) -> tuple[LabelSample, Encoded]:
    """Reads the first epochs, at most so many: their views, their logits, and what is stored of them."""
    epochs = range(min(sample_epochs(len(labels.keys)), most))
    batches = [batch for _, batch in labels.batches(epochs)]
    stored = {name: torch.cat([batch[2][name] for batch in batches]) for name in batches[0][2]}
    logits = labels.codec.decode(stored)
    source = f"views with their labels as {labels.codec.name}"
    return LabelSample(batches, logits, labels.keys, labels.class_indices, labels.temperature, source), stored


def _in_codec(labels: StoredLabels, target: Codec, stored: Encoded) -> Encoded:
    """Returns labels in another codec; in their own, as they are."""
    return stored if target.name == labels.codec.name else target.encode(labels.codec.decode(stored))


def _write_new(
    labels: StoredLabels, out: Path, target: Codec, epochs: int, why: dict[str, Any] | None
) -> dict[str, Any]:
    """Puts the dataset together under a temporary name and gives it its own when it is whole."""
    out.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(out.parent, re.escape(out.name))
    staged = DatasetFolder(temporary_name(out))
    try:
        _take_over(labels, staged)
        _write_tables(labels, staged, target, epochs)
        lost = _measure_loss(labels, target, epochs)
        recipe = _new_recipe(labels, target, epochs, why=why, lost=lost)
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
        **lost,
    }


def _take_over(labels: StoredLabels, staged: DatasetFolder) -> None:
    """Takes over what has nothing to do with labels, each file once it is known to be whole."""
    old = labels.folder
    paths = [old.classes, *old.image_tars(), *old.lineage_tables(), *filter(Path.is_file, [old.mosaics])]
    labels.require_whole(paths)
    for path in paths:
        link_or_copy(path, staged.root / path.relative_to(old.root))


def _write_tables(labels: StoredLabels, staged: DatasetFolder, target: Codec, epochs: int) -> None:
    said = {name: value for name, value in labels.metadata().items() if name not in ("schema_version", "codec")}
    for block in epoch_blocks(epochs, EPOCHS_PER_FILE):
        write_soft_labels(
            staged.soft_labels(block_name(block)),
            _recoded(labels, block, target),
            keys=labels.keys,
            class_indices=labels.class_indices,
            codec=target,
            metadata=said,
        )
    if target.name == "features":
        link_or_copy(labels.folder.teacher_head, staged.teacher_head)


def _recoded(labels: StoredLabels, block: range, target: Codec) -> Iterator[tuple[int, LabelledBatch]]:
    for epoch, (rows, views, stored) in labels.batches(block):
        yield epoch, (rows, views, _in_codec(labels, target, stored))


def _measure_loss(labels: StoredLabels, target: Codec, epochs: int) -> dict[str, float]:
    """Measures on the first epochs what the other codec and fewer epochs lose, in nats, beside what labels say."""
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
    labels: StoredLabels, target: Codec, epochs: int, *, why: dict[str, Any] | None, lost: dict[str, float]
) -> dict[str, Any]:
    """Returns recipe.json of the new dataset: what students train for stays, how labels are stored is told anew."""
    before = {"codec": labels.codec.name, "epochs": labels.num_epochs, **lost}
    told = {
        "epochs": labels.training_epochs,
        "label_epochs": epochs,
        "label_codec": target.name,
        **({"label_choice": why} if why else {}),
        "labels_from": [*labels.recipe.get("labels_from", []), before],
        "labels_written_by": f"rded {__version__}",
    }
    kept = {name: value for name, value in labels.recipe.items() if name not in (*told, "label_choice")}
    return {**kept, **told}


def _describe(labels: StoredLabels, staged: DatasetFolder, recipe: dict[str, Any]) -> None:
    """Writes the small files that speak of labels, and the checksums."""
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
