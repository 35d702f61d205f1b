"""``rded labels``: describes a dataset's labels, or copies the dataset with smaller ones."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from rded_core.config.sizes import parse_size
from rded_core.errors import InputError
from rded_core.io.layout.run import find_dataset
from rded_core.io.remote.working_copy import folder_to_read
from rded_core.io.storage.files import require_new
from rded_core.io.storage.urls import is_url
from rded_core.text.summaries import describe_kept, format_size

DIR = Annotated[
    str, typer.Argument(metavar="DIR", help="A run folder or a dataset folder, or its URL.", show_default=False)
]
CODEC = Annotated[
    str | None,
    typer.Option(
        "--codec",
        metavar="float16|int8|int4|features|topk:N",
        help="Codec to store the labels with; with --budget, the only one tried.",
    ),
]
EPOCHS = Annotated[int | None, typer.Option("--epochs", metavar="N", help="Keep only the first N epochs of labels.")]
BUDGET = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="SIZE",
        help="Size limit for the labels, such as 20MB; picks the codec and epochs that lose least within it.",
    ),
]
OUT = Annotated[
    str | None, typer.Option("--out", "-o", metavar="NEW", help="Folder for the new dataset; DIR is not changed.")
]
DESCRIBE = Annotated[
    bool,
    typer.Option("--describe", help="Print bytes per column, and entropy and agreement per class; writes no dataset."),
]
PICTURE = Annotated[
    str | None, typer.Option("--picture", metavar="FILE", help="With --describe: also draw a picture, .png or .jpg.")
]


def labels(
    directory: DIR,
    codec: CODEC = None,
    epochs: EPOCHS = None,
    budget: BUDGET = None,
    out: OUT = None,
    describe: DESCRIBE = False,
    picture: PICTURE = None,
) -> None:
    """Describe a dataset's labels, or copy the dataset with smaller labels."""
    settings = [codec, epochs, budget]
    if describe and (out or any(value is not None for value in settings)):
        raise InputError("--describe changes nothing; drop --codec, --epochs, --budget and --out")
    if picture and not describe:
        raise InputError("--picture needs --describe; add it, or drop --picture")
    if describe:
        with folder_to_read(directory) as directory:
            find_dataset(directory)  # before torch is imported
            from deployments.cli.label_reports import print_labels

            print_labels(directory, picture)
        return
    if all(value is None for value in settings):
        raise InputError("nothing to do; give --codec, --epochs, --budget or --describe (see rded labels --help)")
    if budget is not None and epochs is not None:
        raise InputError("--budget chooses the number of epochs; drop --epochs")
    if out is None:
        raise InputError(f"missing: --out; give --out NEW, a new folder ({quote(directory)} is not changed)")
    if is_url(out):
        raise InputError(f"--out {out} is a URL; give a local folder and upload it afterwards")
    _reencode(directory, Path(out), codec=codec, epochs=epochs, budget=budget)


def _reencode(directory: str, out: Path, *, codec: str | None, epochs: int | None, budget: str | None) -> None:
    size = parse_size(budget) if budget is not None else None
    require_new(out)
    with folder_to_read(directory) as directory:
        find_dataset(directory)  # before torch is imported
        from deployments.cli.label_reports import describe_new
        from rded_core.io.labels.reencode import reencode

        record = reencode(directory, out, codec=codec, epochs=epochs, budget=size, log=typer.echo)
    before = record["before"]
    typer.echo(f"dataset     {record['dataset']}")
    typer.echo(f"before      {before['epochs']} epochs, {before['codec']}, {format_size(before['bytes'])}")
    typer.echo(
        f"labels      {describe_kept(record['epochs'], record['training_epochs'])}, {record['codec']}, "
        f"{format_size(record['bytes'])}"
    )
    for line in describe_new(record):
        typer.echo(line)
