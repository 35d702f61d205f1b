"""``rded up``, ``down``, ``deploy`` and ``schedule``: a server and workers that run the flows, and when."""

from pathlib import Path
from typing import Annotated

import typer

HOST = typer.Option("--host", metavar="ADDRESS", help="Address to listen on; other than loopback only with a password.")
PORT = typer.Option("--port", metavar="N", help="The server's port (default 4200, or the next that is free).")
POOL = typer.Option("--pool", metavar="NAME", help="Work pool that workers take runs from.")
FOLDER = typer.Option(
    "--folder", metavar="DIR", help="Where relative paths of runs start from, on the workers' machines (default here)."
)
DATABASE = typer.Option(
    "--database", metavar="URL", help="The server's database, such as postgresql://... (default SQLite)."
)

OUT = typer.Argument(metavar="OUT", help="Run folder of rded distill.")
EVERY = typer.Option("--every", metavar="TIME", help="How often, from now on: 90s, 30m, 12h, 1d.")
CRON = typer.Option("--cron", metavar="FIELDS", help="When, as cron says it, in UTC: '0 3 * * *'.")
OFF = typer.Option("--off", help="Have no schedule any more.")


def up(
    host: Annotated[str, HOST] = "127.0.0.1",
    port: Annotated[int | None, PORT] = None,
    pool: Annotated[str, POOL] = "rded",
    database: Annotated[str | None, DATABASE] = None,
) -> None:
    """Start a Prefect server and a worker here, with the flows as deployments."""
    from deployments.server.stack import Wanted
    from deployments.server.stack import up as start

    stack = start(Wanted(host=host, port=port, pool=pool, database=database), typer.echo)
    typer.echo(
        f"\nready: {stack.url}\n\n"
        f"  export PREFECT_API_URL={stack.api_url}\n"
        "  prefect deployment ls                                            # what can be run\n"
        "  prefect deployment run distill/distill -p config='{...}' --watch # or from the page above\n"
        "  rded schedule OUT --every 1d                                     # refresh a run folder by itself\n"
        "  rded down                                                        # stop it all"
    )


def down() -> None:
    """Stop what rded up has started, and nothing else."""
    from deployments.server.stack import down as stop

    stop(typer.echo)


def deploy(pool: Annotated[str, POOL] = "rded", folder: Annotated[str, FOLDER] = ".") -> None:
    """Set up the server of PREFECT_API_URL: work pool, limit on GPUs, deployments; again changes nothing."""
    from deployments.server.setup import deploy as set_up

    for name in set_up(pool, Path(folder).resolve()):
        typer.echo(f"deployed: {name}")


def schedule(
    out: Annotated[str, OUT],
    every: Annotated[str | None, EVERY] = None,
    cron: Annotated[str | None, CRON] = None,
    off: Annotated[bool, OFF] = False,
) -> None:
    """Have a run folder brought up to date by itself, with the config of its run.json; again, to change when."""
    from deployments.server.schedules import schedule_of, set_schedule

    folder = set_schedule(out, None if off else schedule_of(every, cron))
    when = f"every {every}" if every else f"at {cron} (UTC)"
    typer.echo(f"{folder}: {'not refreshed by itself any more' if off else f'refreshed {when}'}")


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("up", short_help="Start a Prefect server and a worker here.")(up)
    app.command("down", short_help="Stop what rded up has started.")(down)
    app.command("deploy", short_help="Set up a server that runs already.")(deploy)
    app.command("schedule", short_help="Have a run folder brought up to date by itself.")(schedule)
