"""The output of the lineage commands."""

from typing import Any

import typer

from rded_core.io.formats.rows import PatchRow
from rded_core.io.lineage.trace import SourceTrace, Trace, describe_score
from rded_core.text.wording import counted

MAX_NAMES = 10
"""Keys listed at most on one line."""


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


def print_uses(traces: list[SourceTrace]) -> None:
    """Prints the quadrants that show each source image."""
    for trace in traces:
        typer.echo(f"source      {trace.name}")
        for use in trace.uses:
            row = use.row
            typer.echo(
                f"shown in    {row['key']} quadrant {row['quadrant']}, class {use.label.folder}, {_describe_box(row)}, "
                f"{describe_score(row)}, rank {row['rank']}"
            )
        if not trace.uses:
            typer.echo("shown in    no distilled image")
        if trace.note:
            typer.echo(f"forgotten   {trace.note}")


def print_forgotten(done: dict[str, Any]) -> None:
    """Prints the forgotten images, where they were shown, what replaced them, and what still reflects them."""
    for digest in done.get("already", ()):
        typer.echo(f"forgotten   {digest}: already forgotten, nothing changed")
    if "already" in done:
        return
    for image in done["images"]:
        typer.echo(f"forgotten   {image['sha256']}")
        if image["uris"]:
            classes = ", ".join(image["classes"])
            typer.echo(f"            {', '.join(image['uris'])}")
            typer.echo(f"            {f'candidate of class {classes}' if classes else 'never a candidate from now on'}")
        else:
            typer.echo("            unknown to this run; excluded if it ever appears")
    _print_mended(done)
    for name in done["controls"]:
        typer.echo(f"removed     the control {name}; rded evaluate rebuilds it")
    typer.echo("remember    earlier evaluations and networks, and published copies of the dataset, still reflect them")


def _print_mended(done: dict[str, Any]) -> None:
    keys = sorted({row["key"] for row in done["uses"]})
    images = counted(len(keys), "distilled image")
    typer.echo(f"shown in    {images}{': ' if keys else ''}{_listed(keys)}")
    for row in done["refilled"]:
        typer.echo(f"refilled    {row['key']} quadrant {row['quadrant']} with {row['source_uri']} (rank {row['rank']})")
    if done["num_changed"]:
        typer.echo(f"changed     {done['num_changed']} of {counted(done['num_images'], 'distilled image')}")
        typer.echo(f"labels      {done['num_labels_made']} of {done['num_labels']} computed again")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:MAX_NAMES]) + (" ..." if len(names) > MAX_NAMES else "")


def _describe_box(row: PatchRow) -> str:
    sides = (row["box_top"], row["box_left"], row["box_height"], row["box_width"])
    return f"box {' '.join(map(str, sides))} (top left height width)"
