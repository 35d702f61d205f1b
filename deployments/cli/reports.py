"""The summaries that commands print when they are done."""

from shlex import quote
from typing import Any

import typer

from rded_core.io.remote.places import run_at
from rded_core.io.run.forgotten import is_forgetting
from rded_core.io.run.records import NEW
from rded_core.text.summaries import describe_kept, describe_rejected, describe_stage, format_size, mean_std
from rded_core.text.wording import TOP5_CLASSES, counted, percent

SMALL_IMAGE_PX = 64
"""Images up to this size are too small for a mosaic; the paper uses factor 1 for them."""


def print_observer(record: dict[str, Any]) -> None:
    """Prints the path of an observer, how good it is, and how to use it."""
    accuracy = "not measured" if record["top1"] is None else f"top-1 {percent(record['top1'], 2)}"
    if record["top1"] is not None and record["num_classes"] >= TOP5_CLASSES:
        accuracy += f", top-5 {percent(record['top5'], 2)}"
    typer.echo(f"observer    {record['path']}")
    typer.echo(f"trained on  {record['num_images']} images of {record['num_classes']} classes in {record['seconds']} s")
    typer.echo(f"accuracy    {accuracy}")
    size = f"--size {record['size']}" + (" --factor 1" if record["size"] <= SMALL_IMAGE_PX else "")
    spec = f"--observer rded:{record['arch']} --weights {quote(record['path'])} {size}"
    typer.echo(f"next        rded distill {quote(record['source'])} {spec} --ipc 10 --out DIR")


def print_distilled(record: dict[str, Any]) -> None:
    """Prints the distilled dataset, its size, and the work that was reused."""
    if record["dataset"] is None:
        typer.echo(f"not done    nothing published: {record['why_missing']}; run without --only-classes")
        _print_work(record["work"])
        return
    typer.echo(f"dataset     {record['dataset']}")
    typer.echo(
        f"images      {record['num_images']} in {record['num_classes']} classes, from "
        f"{counted(record['num_source'], 'source image')}, {format_size(record['image_bytes'])}"
    )
    kept = describe_kept(record["label_epochs"], record["training_epochs"])
    typer.echo(f"labels      {kept}, {record['label_codec']}, {format_size(record['label_bytes'])}")
    typer.echo(f"observer    top-1 {percent(record['observer_top1'])} on the candidates")
    for warning in record["warnings"]:
        typer.echo(f"warning     {warning}")
    if record["rejected"]:
        typer.echo(f"rejected    {describe_rejected(record['rejected'])}: listed in the report")
    typer.echo(f"report      {record['dataset']}/report/index.html")
    _print_work(record["work"])


def _print_work(work: list[dict[str, Any]]) -> None:
    """Prints the reused work, and why the rest was made again; nothing if all of it was new."""
    if all(entry["why"].keys() <= {NEW} and not entry["left_out"] for entry in work) and not _reused(work):
        return
    if not any(entry["made"] for entry in work):
        typer.echo("reused      everything: nothing has changed (--redo STAGE repeats a stage)")
        return
    for heading, entry in zip(["work", *[""] * len(work)], work, strict=False):
        typer.echo(f"{heading:<12}{entry['stage']:<9}{describe_stage(entry)}")


def _reused(work: list[dict[str, Any]]) -> int:
    return sum(entry["reused"] for entry in work)


def print_next(record: dict[str, Any]) -> None:
    """Prints the command that evaluates the dataset, after the one that completes an interrupted forget."""
    if is_forgetting(run_at(record["out"])):
        typer.echo(
            f"unfinished  rded forget was interrupted, traces may remain; run rded forget {quote(record['out'])}"
        )
    if record["dataset"] is None:
        return
    typer.echo(f"next        rded evaluate {quote(record['out'])} --val VALIDATION_IMAGES --student NAME")


def print_evaluation(table: dict[str, Any]) -> None:
    """Prints the last and best accuracy of each set, mean and deviation over seeds."""
    typer.echo(
        f"{table['student']}, protocol {table['protocol']}, ipc {table['ipc']}, {table['num_classes']} classes, "
        f"{counted(table['epochs'], 'epoch')}, {counted(table['num_seeds'], 'seed')}"
    )
    measures = {"top-1 last": "last_top1", "top-1 best": "best_top1", "top-5 last": "last_top5"}
    if table["num_classes"] < TOP5_CLASSES:
        del measures["top-5 last"]
    typer.echo(f"{'trained on':<12}" + "".join(f"{name:>16}" for name in measures))
    for name, summary in table["sets"].items():
        cells = "".join(f"{mean_std(summary[key]):>16}" for key in measures.values())
        typer.echo(f"{name:<12}{cells}")
    if table["val_is_source"]:
        typer.echo("warning     measured on the images that the dataset was distilled from: not a fair measure")
    typer.echo(f"details     {table['path']}")


def print_demo(distilled: dict[str, Any], table: dict[str, Any]) -> None:
    """Prints both results of the demo, and commands to try next."""
    typer.echo("")
    print_distilled(distilled)
    typer.echo("")
    print_evaluation(table)
    typer.echo(f"""
look at     {distilled["dataset"]}/report/mosaics.jpg    the distilled images, one class per row
            {distilled["dataset"]}/report/index.html     the report
            {distilled["dataset"]}/README.md             how to train on them without this program

with your own data, a folder of class folders (PHOTOS/train/CLASS/*.jpg, PHOTOS/val/CLASS/*.jpg):
  rded train-observer PHOTOS --arch resnet18 --val PHOTOS --out observer.safetensors
  rded distill PHOTOS --observer rded:resnet18 --weights observer.safetensors --ipc 10 --out photos-distilled
  rded evaluate photos-distilled --val PHOTOS --student resnet18""")
