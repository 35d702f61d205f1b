"""``rded verify`` and ``rded repair``: find faults in a run or a dataset, and rebuild what is faulty."""

import time
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.server import temporary
from rded_core.io.layout.run import RunFolder
from rded_core.io.remote.places import as_shown
from rded_core.text.summaries import format_size
from rded_core.text.wording import counted

if TYPE_CHECKING:
    from rded_core.io.verify.findings import Findings

EXIT_FAULTS = 1

Folder = Annotated[str, typer.Argument(metavar="DIR", help="A run folder or a dataset folder, or its URL.")]


def verify(
    folder: Folder,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Also recompute a sample of scores, labels and pixels on the CPU, and compare."),
    ] = False,
) -> None:
    """Check every file of a run or a dataset; report each fault and its remedy."""
    from rded_core.io.remote.working_copy import folder_to_read
    from rded_core.io.verify.run import find_checked
    from tasks.verify.files import check_files

    started = time.monotonic()
    with folder_to_read(folder) as folder:
        target = find_checked(folder)
        findings = check_files(target)
        if deep:
            from tasks.verify.recompute import check_deep

            check_deep(target, findings)
    print_findings(findings)
    typer.echo(_sum_up(findings, time.monotonic() - started))
    if findings.faults:
        raise typer.Exit(EXIT_FAULTS)


def repair(folder: Folder) -> None:
    """Rebuild what is damaged or missing in a run, and nothing else."""
    from rded_core.io.remote.working_copy import run_to_change

    started = time.monotonic()
    with run_to_change(folder) as folder:
        findings = _repair(folder)
    print_findings(findings)
    typer.echo(_sum_up(findings, time.monotonic() - started))
    if findings.faults:
        raise typer.Exit(EXIT_FAULTS)


def _repair(folder: str) -> "Findings":
    from rded_core.io.run.run_json import find_run
    from rded_core.io.verify.run import find_checked
    from tasks.verify.files import check_files

    if not isinstance(find_checked(folder), RunFolder) and not _is_in_run(folder):
        return check_files(find_checked(folder))
    temporary.start()
    from flows.repair import repair as repair_run

    temporary.wait()
    return repair_run(find_run(folder), tell=lambda line: typer.echo(as_shown(line)))


def _is_in_run(folder: str) -> bool:
    """Whether a dataset lies in the run that made it."""
    from rded_core.errors import InputError
    from rded_core.io.run.run_json import find_run

    try:
        find_run(folder)
    except InputError:
        return False
    return True


def print_findings(findings: "Findings") -> None:
    """Prints a line for each fault, each note and each check that could not be made."""
    for fault in findings.faults:
        typer.echo(as_shown(f"{fault.kind:<13} {findings.shown(fault.path)}: {fault.what}; {fault.remedy}"))
    for note in findings.notes:
        typer.echo(as_shown(f"{'note':<13} {note}"))
    for what in findings.unchecked:
        typer.echo(f"{'not checked':<13} {what}")


def _sum_up(findings: "Findings", seconds: float) -> str:
    count = len(findings.faults)
    verdict = counted(count, "fault") if count else "sound"
    unchecked = f", {counted(len(findings.unchecked), 'check')} could not be made" if findings.unchecked else ""
    files = counted(len(findings.known), "file")
    return (
        f"{quote(as_shown(findings.root))}: {files}, {format_size(findings.num_bytes)} intact, "
        f"{verdict}{unchecked} ({seconds:.1f} s)"
    )
