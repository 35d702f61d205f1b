"""What the commands print when they are done."""

from typing import Any

import typer


def print_observer(record: dict[str, Any]) -> None:
    """Prints where an observer was written, how good it is, and how to use it."""
    accuracy = f"top-1 {record['top1']:.2%}, top-5 {record['top5']:.2%}" if record["top1"] is not None else "not measured"
    typer.echo(f"observer    {record['path']}")
    typer.echo(f"trained on  {record['num_images']} images of {record['num_classes']} classes in {record['seconds']} s")
    typer.echo(f"accuracy    {accuracy}")


def print_distilled(record: dict[str, Any]) -> None:
    """Prints what a distillation made, how much smaller it is, and what to do next."""
    typer.echo(f"dataset     {record['dataset']}")
    typer.echo(
        f"images      {record['num_images']} in {record['num_classes']} classes, from {record['num_source']}, "
        f"{_size(record['image_bytes'])}"
    )
    typer.echo(f"labels      {record['label_epochs']} epochs, {_size(record['label_bytes'])}")
    typer.echo(f"observer    top-1 {record['observer_top1']:.1%} on the candidates")
    typer.echo(f"report      {record['dataset']}/report/index.html")
    typer.echo(f"next        rded evaluate {record['out']} --val VALIDATION_IMAGES --student NAME")


def _size(num_bytes: float) -> str:
    for unit in ("B", "kB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} GB"
