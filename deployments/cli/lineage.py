"""``rded trace`` and ``rded forget``: where distilled images come from, and how to remove a source image."""

from pathlib import Path
from typing import Annotated, Any

import typer

from deployments.server import temporary
from rded_core.errors import InputError
from rded_core.io.layout.run import find_dataset
from rded_core.io.lineage.picture_formats import require_picture_ending
from rded_core.io.remote.working_copy import folder_to_read, run_to_change

DIR = Annotated[
    str, typer.Argument(metavar="DIR", help="A run folder or a dataset folder, or its URL.", show_default=False)
]
KEYS = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY]...", help="Keys of distilled images, such as c00012_i00003.", show_default=False),
]
SOURCE = Annotated[
    list[str] | None,
    typer.Option(
        "--source",
        metavar="IMAGE",
        help="Source image, by URI or SHA-256: list the distilled images that show it. Repeatable.",
    ),
]
PICTURE = Annotated[
    str | None,
    typer.Option(
        "--picture", metavar="FILE", help="Picture to write, .jpg or .png, or a folder (default ./KEY.jpg).",
    ),
]  # fmt: skip
IMAGES_FROM = Annotated[
    str | None,
    typer.Option(
        "--images-from", metavar="SOURCE", help="Where to read source images that the run folder no longer has."
    ),
]

RUN = Annotated[
    str, typer.Argument(metavar="DIR", help="A run folder (--out of rded distill), or its URL.", show_default=False)
]
FORGET = Annotated[
    list[str] | None,
    typer.Option(
        "--source",
        metavar="IMAGE",
        help="Source image to remove, by URI or SHA-256. Repeatable; without it, an interrupted forget is completed.",
    ),
]


def register(app: typer.Typer) -> None:
    """Adds the lineage commands."""
    app.command(
        "trace",
        short_help="Trace distilled images to source images, or back.",
        help="Show the source images that a distilled image was cut from, or where a source image is shown.",
    )(_trace)
    app.command("forget", help="Permanently remove every use of source images from a run.")(_forget)


def _trace(
    directory: DIR,
    keys: KEYS = None,
    source: SOURCE = None,
    picture: PICTURE = None,
    images_from: IMAGES_FROM = None,
) -> None:
    if bool(keys) == bool(source):
        raise InputError("give either the KEY of a distilled image or --source IMAGE; see rded trace --help")
    if picture and not Path(picture).is_dir():
        require_picture_ending(Path(picture))
    with folder_to_read(directory) as directory:
        find_dataset(directory)
        from deployments.cli.lineage_reports import print_traces, print_uses
        from rded_core.io.lineage.trace import trace_images, trace_sources

        if keys:
            print_traces(trace_images(directory, keys, picture=picture, images_from=images_from))
        else:
            print_uses(trace_sources(directory, source or []))


def _forget(directory: RUN, source: FORGET = None) -> None:
    with run_to_change(directory) as directory:
        done = _forget_in(directory, source)
    from deployments.cli.lineage_reports import print_forgotten

    print_forgotten(done)


def _forget_in(directory: str, source: list[str] | None) -> dict[str, Any]:
    from rded_core.io.lineage.known_images import forgotten_before
    from rded_core.io.run.forgotten import is_forgetting
    from rded_core.io.run.run_json import find_run, read_run

    run = find_run(directory)
    read_run(run)
    if not source and not is_forgetting(run):
        raise InputError("missing: --source IMAGE; see rded forget --help")
    done: dict[str, Any] = {"already": forgotten_before(run, source or [])}
    if not done["already"]:
        temporary.start()
        from flows.forget import forget

        temporary.wait()
        done = forget(directory, source or [])
    return done
