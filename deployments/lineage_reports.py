"""What the commands about lineage print."""

from typing import Any

import typer

from tasks.trace import Trace, Use, describe_score


def print_traces(traces: list[Trace]) -> None:
    """Prints each image's class and, for each quadrant, its source, box, score and rank."""
    for trace in traces:
        name = "" if trace.label.name == trace.label.folder else f" ({trace.label.name})"
        typer.echo(f"image       {trace.key}, class {trace.label.folder}{name}")
        for row in trace.rows:
            typer.echo(f"quadrant {row['quadrant']:<3}{row['source_uri']}")
            typer.echo(f"            sha256 {row['source_sha256']}")
            typer.echo(f"            {_describe_box(row)}, {describe_score(row)}, rank {row['rank']}")
        if trace.picture:
            typer.echo(f"picture     {trace.picture}")
        if trace.note:
            typer.echo(f"{'missing' if trace.picture else 'no picture':<12}{trace.note}")


def print_uses(uses: dict[str, list[Use]]) -> None:
    """Prints, for each source image, the quadrants that show it."""
    for name, found in uses.items():
        typer.echo(f"source      {name}")
        for use in found:
            row = use.row
            typer.echo(
                f"shown in    {row['key']} quadrant {row['quadrant']}, class {use.label.folder}, {_describe_box(row)}, "
                f"{describe_score(row)}, rank {row['rank']}"
            )
        if not found:
            typer.echo("shown in    no distilled image")


def _describe_box(row: dict[str, Any]) -> str:
    sides = " ".join(str(row[f"box_{side}"]) for side in ("top", "left", "height", "width"))
    return f"box {sides} (top left height width)"
