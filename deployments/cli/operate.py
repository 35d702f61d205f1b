"""``rded up``, ``down``, ``deploy`` and ``schedule``: a server and a worker that run the flows, and schedules."""

from pathlib import Path
from typing import Annotated

import typer

HOST = typer.Option(
    "--host",
    metavar="ADDRESS",
    help="Address to listen on; one that other machines can reach needs PREFECT_SERVER_API_AUTH_STRING=USER:PASSWORD.",
)
PORT = typer.Option("--port", metavar="N", help="The server's port (default 4200, or the next free one).")
POOL = typer.Option("--pool", metavar="NAME", help="Work pool that workers take runs from.")
FOLDER = typer.Option(
    "--folder", metavar="DIR", help="Folder on the workers' machines that relative paths in runs start from."
)
DATABASE = typer.Option(
    "--database", metavar="URL", help="URL of the server's database, such as postgresql://... (default SQLite)."
)

OUT = typer.Argument(metavar="OUT", help="A run folder (--out of rded distill), or its URL.")
EVERY = typer.Option("--every", metavar="TIME", help="Interval between runs, from now on: 90s, 30m, 12h, 1d.")
CRON = typer.Option("--cron", metavar="FIELDS", help="Times as a cron expression in UTC, such as '0 3 * * *'.")
OFF = typer.Option("--off", help="Remove the schedule.")


def up(
    host: Annotated[str, HOST] = "127.0.0.1",
    port: Annotated[int | None, PORT] = None,
    pool: Annotated[str, POOL] = "rded",
    database: Annotated[str | None, DATABASE] = None,
) -> None:
    """Start a Prefect server and a worker on this machine, with the flows as deployments."""
    from deployments.server.stack import Wanted
    from deployments.server.stack import up as start

    stack = start(Wanted(host=host, port=port, pool=pool, database=database), typer.echo)
    typer.echo(
        f"\nready: {stack.url}\n\n"
        f"  export PREFECT_API_URL={stack.api_url}\n"
        "  prefect deployment ls                                            # list the deployments\n"
        "  prefect deployment run distill/distill -p config='{...}' --watch # or use the page above\n"
        "  rded schedule OUT --every 1d                                     # refresh a run folder every day\n"
        "  rded down                                                        # stop the server and the worker"
    )


def down() -> None:
    """Stop the server and the worker that rded up started, and nothing else."""
    from deployments.server.stack import down as stop

    stop(typer.echo)


def deploy(pool: Annotated[str, POOL] = "rded", folder: Annotated[str, FOLDER] = ".") -> None:
    """Create the work pool, the GPU limit and the deployments on the server at PREFECT_API_URL; safe to repeat."""
    from deployments.server.setup import deploy as set_up

    for name in set_up(pool, Path(folder).resolve()):
        typer.echo(f"deployed: {name}")


def schedule(
    out: Annotated[str, OUT],
    every: Annotated[str | None, EVERY] = None,
    cron: Annotated[str | None, CRON] = None,
    off: Annotated[bool, OFF] = False,
) -> None:
    """Refresh a run folder on a schedule (--every or --cron), with the config in its run.json; repeat to change it."""
    from deployments.server.schedules import schedule_of, set_schedule

    folder = set_schedule(out, None if off else schedule_of(every, cron))
    when = f"every {every}" if every else f"at {cron} (UTC)"
    typer.echo(f"{folder}: {'schedule removed' if off else f'refreshed {when}'}")


def register(app: typer.Typer) -> None:
    """Adds the server commands."""
    app.command("up", short_help="Start a Prefect server and a worker on this machine.")(up)
    app.command("down", short_help="Stop what rded up started.")(down)
    app.command("deploy", short_help="Set up a Prefect server that is already running.")(deploy)
    app.command("schedule", short_help="Refresh a run folder on a schedule.")(schedule)
