"""The output of ``rded labels``."""

from pathlib import Path
from shlex import quote
from typing import Any

import typer

from rded_core.io.labels.description import LabelDescription, describe, show_views
from rded_core.io.labels.pictures import draw_labels
from rded_core.io.labels.reencode import keeps_more
from rded_core.io.labels.stored import StoredLabels
from rded_core.io.layout.run import find_dataset
from rded_core.io.lineage.pictures import require_picture_place, write_picture
from rded_core.labels.epoch_order import count_uses
from rded_core.labels.summary import ClassSums
from rded_core.text.summaries import describe_kept, format_size
from rded_core.text.wording import counted, percent

MOST_CLASSES = 50
"""Classes listed at most, one per line."""

LOW_AGREEMENT = 0.05
"""Share of a class's views that the teacher assigns to it, below which a note names the class: most likely the
teacher's class order differs."""

ENOUGH_VIEWS = 30
"""Classes with fewer views get no note: mixed views show little of their class."""


def print_labels(directory: str, picture: str | None) -> None:
    """Prints how the labels are stored, their bytes per column and their certainty per class; draws a picture of it."""
    labels = StoredLabels(directory)
    if picture:
        _, run = find_dataset(directory)
        require_picture_place(Path(picture), labels.folder.root, *([run.root] if run else []))
    description = describe(labels)
    kept = describe_kept(labels.num_epochs, labels.training_epochs)
    summary = f"{kept}, {labels.codec.name}, {format_size(labels.folder.label_bytes())}"
    typer.echo(f"labels      {summary}")
    typer.echo(f"used        {_uses(labels)}")
    _print_bytes(description)
    _print_classes(labels, description)
    if picture:
        row = len(labels.keys) // 2
        image = (labels.keys[row], int(labels.class_indices[row]))
        names = [label.name for label in labels.classes]
        views = show_views(labels, image[0])
        sheet = draw_labels(summary, description, names=names, temperature=labels.temperature, image=image, views=views)
        write_picture(Path(picture), sheet)
        typer.echo(f"picture     {picture}")


def _uses(labels: StoredLabels) -> str:
    uses = count_uses(labels.training_epochs, num_stored=labels.num_epochs, seed=0)
    least, most = min(uses), max(uses)
    times = f"{most} times" if most > 1 else "once"
    return (
        f"each {times if least == most else f'{least} or {times}'} in the {labels.training_epochs} epochs of training"
    )


def _print_bytes(description: LabelDescription) -> None:
    total = sum(description.columns.values())
    for heading, (name, count) in zip(["bytes", *[""] * 30], description.columns.items(), strict=False):
        each = count / description.num_views
        typer.echo(f"{heading:<12}{name:<22}{format_size(count):>10}{percent(count / total):>9}{each:>9.1f} per view")


def _print_classes(labels: StoredLabels, description: LabelDescription) -> None:
    sums, temperature = description.sums, labels.temperature
    seen = int(sums.views.sum())
    typer.echo(
        f"sample      {seen} of {description.num_views} views; a view counts for the class that fills most of it"
    )
    typer.echo(f"{'':<12}{'class':<22}{'views':>8}{'entropy at 1':>14}{f'at {temperature:g}':>10}{'agreement':>12}")
    for index, label in enumerate(labels.classes[:MOST_CLASSES]):
        typer.echo(f"{'':<12}{label.name[:20]:<22}{_cells(sums, slice(index, index + 1))}")
    if len(labels.classes) > MOST_CLASSES:
        typer.echo(f"{'':<12}... {len(labels.classes) - MOST_CLASSES} more")
    typer.echo(f"{'':<12}{'all':<22}{_cells(sums, slice(None))}")
    typer.echo(f"{'':<12}{'unmixed views':<22}{_cells(description.plain, slice(None))}")
    unrecognised = [
        label.name
        for label, views, agree in zip(labels.classes, sums.views.tolist(), sums.agree.tolist(), strict=True)
        if views >= ENOUGH_VIEWS and agree < LOW_AGREEMENT * views
    ]
    if unrecognised:
        others = f" and {counted(len(unrecognised) - 1, 'other class')}" if unrecognised[1:] else ""
        typer.echo(f"note        the teacher hardly ever recognises {unrecognised[0]}{others}; check its class order")


def _cells(sums: ClassSums, part: slice) -> str:
    views, sharp, soft, agree = (float(getattr(sums, name)[part].sum()) for name in ClassSums.__slots__)
    if not views:
        return f"{0:>8}"
    return f"{views:>8.0f}{sharp / views:>14.3f}{soft / views:>10.4f}{percent(agree / views):>12}"


def _describe_loss(record: dict[str, Any], what: str, name: str) -> str:
    share = 100 * record[name] / max(record["signal_nats"], 1e-30)
    return f"{what:<12}loses {record[name]:.2g} nats per view, {share:.3g} % of the labels' signal"


def describe_new(record: dict[str, Any]) -> list[str]:
    """Returns lines that describe the labels that `reencode` wrote."""
    before = record["before"]
    lines = [_describe_loss(record, "rounding", "loss_nats")]
    if record["epochs"] < before["epochs"]:
        lines.append(_describe_loss(record, "reuse", "reuse_nats"))
    if keeps_more(record["codec"], before["codec"]):
        codecs = f"{record['codec']} labels made from {before['codec']} labels"
        lines.append(f"note        {codecs} do not regain the precision that those had lost")
    elif record["bytes"] > before["bytes"]:
        lines.append("note        larger than before")
    lines += [f"note        {line}" for line in record["excess"]]
    lines.append(
        f"next        rded evaluate {quote(record['dataset'])} --val VALIDATION_IMAGES --student NAME --controls none"
    )
    return lines
