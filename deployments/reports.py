"""What the commands print when they are done."""

from typing import Any

import typer


def print_observer(record: dict[str, Any]) -> None:
    """Prints where an observer was written, how good it is, and how to use it."""
    accuracy = f"top-1 {record['top1']:.2%}, top-5 {record['top5']:.2%}" if record["top1"] is not None else "not measured"
    typer.echo(f"observer    {record['path']}")
    typer.echo(f"trained on  {record['num_images']} images of {record['num_classes']} classes in {record['seconds']} s")
    typer.echo(f"accuracy    {accuracy}")
