"""The ``rded`` command line: distil, evaluate and train observers from a terminal."""

import json
import signal
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from deployments.cli import lineage, operate
from deployments.cli.labels import labels
from deployments.cli.maintenance import repair, verify
from deployments.cli.options import coerce_fields, with_options
from deployments.cli.signals import describe_end, end_on_signals
from deployments.environment import drop_unusable_proxies, prepare_environment, tidy_logs
from deployments.server import temporary
from rded_core.config import DistillConfig, EvaluateConfig, Rerun, TrainObserverConfig
from rded_core.errors import InputError, RunStopped
from rded_core.io.networks.known import own_size

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="rded",
    help="Distil your own image dataset: keep the most realistic crops, tile them into a few images per class, store "
    "a teacher's soft labels once, and train on the small set.",
    epilog="Start with `rded demo`. Exit codes: 0 done, 1 failed or faults found, 2 bad input, 130 interrupted.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    show_version: Annotated[bool, typer.Option("--version", metavar="", help="Print the version and exit.")] = False,
) -> None:
    if show_version:
        typer.echo(f"rded {version('rded')}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _distill(given: dict[str, Any]) -> None:
    from deployments.cli.reports import print_distilled, print_next

    fields = {name: given.pop(name) for name in ("only_classes", "redo") if name in given}
    rerun = Rerun(**coerce_fields(Rerun, fields, origin="flags"))
    if rerun.only_classes == ():  # usually an empty shell variable, which means neither all nor none
        raise InputError("--only-classes is empty; name some classes, or drop the flag to process all of them")
    kind, num_processes = given.pop("runner", "thread"), given.pop("task_workers", None)
    config = _checked(DistillConfig, given, needed=("source", "observer", "ipc", "out"), rerun=rerun)
    from deployments.runners.choose import make_runner
    from flows.distill import distill
    from tasks.run.prepare import check_ahead

    runner = make_runner(kind, num_processes)
    check_ahead(config, rerun)
    temporary.wait()
    flow = distill if kind == "thread" else distill.with_options(task_runner=runner)
    only = None if rerun.only_classes is None else list(rerun.only_classes)
    record = flow(config, only_classes=only, redo=list(rerun.redo))
    print_distilled(record)
    print_next(record)


def _evaluate(given: dict[str, Any]) -> None:
    from deployments.cli.reports import print_evaluation

    config = _checked(EvaluateConfig, given, needed=("dataset", "val", "student"))
    from flows.evaluate import evaluate
    from tasks.training.evaluate import check_ahead

    check_ahead(config)
    temporary.wait()
    print_evaluation(evaluate(config))


def _train_observer(given: dict[str, Any]) -> None:
    from deployments.cli.reports import print_observer

    config = _checked(TrainObserverConfig, given, needed=("source", "arch", "out"))
    from flows.train_observer import train_observer
    from tasks.training.train_observer import check_ahead

    check_ahead(config)
    temporary.wait()
    print_observer(train_observer(config))


CONFIG_OPTION = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Read SOURCE and all options from this run.json or JSON file; flags override it.",
    ),
]
RUNNER_OPTION = Annotated[
    str | None,
    typer.Option(
        "--runner",
        metavar="thread|process|dask|ray|tcp://HOST:PORT|ray://HOST:PORT",
        help="Where tasks run: thread (in this process, one at a time; the default), process (worker processes), "
        "dask or ray (a cluster on this machine), or the address of a Dask scheduler or Ray cluster. Does not change "
        "the result.",
    ),
]

TASK_WORKERS_OPTION = Annotated[
    int | None,
    typer.Option(
        "--task-workers",
        metavar="N",
        help="Worker processes for --runner process, dask or ray, which share the cores; by default one per four "
        "cores, at least two.",
    ),
]

DISTILL_OPTIONS = {"config": CONFIG_OPTION, "runner": RUNNER_OPTION, "task_workers": TASK_WORKERS_OPTION}

app.command("distill", help="Distil a source into images and soft labels.")(
    with_options(DistillConfig, positional="source", run=_distill, extra=DISTILL_OPTIONS, extra_fields=Rerun)
)
app.command(
    "evaluate",
    short_help="Train students on a distilled dataset and measure them.",
    help="Train students on a distilled dataset and measure their accuracy.",
)(with_options(EvaluateConfig, positional="dataset", run=_evaluate))
app.command("train-observer", help="Train an observer (or teacher) on your images.")(
    with_options(TrainObserverConfig, positional="source", run=_train_observer)
)
lineage.register(app)
operate.register(app)


app.command("labels", short_help="Describe a dataset's labels, or make them smaller.")(labels)
app.command("verify", short_help="Check every file, and report each fault.")(verify)
app.command("repair", short_help="Rebuild what is damaged or missing in a run.")(repair)


@app.command("automations", short_help="Restart crashed runs, report failed ones.")
def automations(
    notify: Annotated[
        str | None,
        typer.Option(
            "--notify",
            metavar="TYPE/NAME",
            help="Also report failed runs through this notification block of the server, such as "
            "slack-webhook/operators.",
        ),
    ] = None,
) -> None:
    """Install automations on the Prefect server: end silent runs, restart crashed ones, and send notifications."""
    from deployments.server.automations import apply_automations

    for line in apply_automations(notify):
        typer.echo(line)


@app.command("demo", short_help="Run the whole pipeline on handwritten digits.")
def demo(
    out: Annotated[str, typer.Option("--out", "-o", metavar="DIR", help="Folder for the demo's files.")] = "demo-out",
) -> None:
    """Run the whole pipeline on handwritten digits, in a few minutes."""
    temporary.start()
    from deployments.cli.demo import run_demo
    from deployments.cli.reports import print_demo

    temporary.wait()

    print_demo(*run_demo(Path(out)))


def _checked(config_class: type, given: dict[str, Any], *, needed: tuple[str, ...], rerun: Rerun | None = None) -> Any:
    """Returns the config once its paths are checked, so that mistakes are reported before Prefect starts."""
    from rded_core.io.preflight import check_inputs

    config = build_config(config_class, given, needed=needed)
    check_inputs(config, rerun)
    temporary.start()
    return config


def build_config(config_class: type, given: dict[str, Any], *, needed: tuple[str, ...]) -> Any:
    """Returns the checked config that a config file and flags describe.

    Raises:
        InputError: a field is missing, unknown or out of range, or the file cannot be read.
    """
    path = given.pop("config", None)
    fields = {**(_read_config(path) if path else {}), **given}
    names = set(config_class.__dataclass_fields__)
    if "size" in names and fields.get("size") is None:
        fields |= own_size(fields.get("observer"))
    if unknown := sorted(set(fields) - names):
        raise InputError(f"{path}: unknown field {unknown[0]!r}; known: {', '.join(sorted(names))}")
    if missing := [name for name in needed if fields.get(name) is None]:
        flags = " ".join(f"--{name.replace('_', '-')}" if name != needed[0] else name.upper() for name in missing)
        raise InputError(f"missing: {flags}; see --help")
    typed = coerce_fields(config_class, fields, origin=path or "config")
    if typed.get("classes") == ():  # usually an empty shell variable
        raise InputError("--classes is empty; name some classes, or drop the flag to use all of them")
    return config_class(**typed)


def _read_config(path: str) -> dict[str, Any]:
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot read the config {path}: {error}; give a run.json or a JSON object of fields"
        ) from error
    fields = content.get("config", content) if isinstance(content, dict) else None
    if not isinstance(fields, dict):
        raise InputError(f"{path} is not a JSON object of fields; give a run.json")
    return fields


def main() -> NoReturn:
    """Runs the command line; a user's mistake ends with one line on stderr and exit code 2."""
    prepare_environment()
    tidy_logs()
    try:
        if note := drop_unusable_proxies(sys.argv[1:]):
            print(f"rded: {note}", file=sys.stderr)
        code = app(standalone_mode=False)  # typer returns the code of an Exit, 130 for Ctrl-C, else None
    except InputError as error:
        _fail(str(error), EXIT_BAD_INPUT)
    except RunStopped as error:
        _fail(str(error), EXIT_FAILED)
    except typer.TyperException as error:
        _fail(f"{error.format_message()} (see rded --help)", EXIT_BAD_INPUT)
    except (typer.Abort, KeyboardInterrupt):
        code = EXIT_INTERRUPTED
    if code == EXIT_INTERRUPTED:
        _fail(describe_end(signal.SIGINT), EXIT_INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def run_as_script() -> NoReturn:
    """Runs `main` as the console script, which signals end at once."""
    end_on_signals()
    main()


def _fail(message: str, code: int) -> NoReturn:
    print(f"rded: error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
