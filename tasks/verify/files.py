"""Checks a run folder, or a dataset alone, with a progress display; does not start Prefect."""

from collections.abc import Generator
from contextlib import contextmanager

from rded_core.errors import InputError
from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.layout.run import RunFolder
from rded_core.io.run.fingerprint import Mark, mark_of
from rded_core.io.run.lock import find_writer
from rded_core.io.run.run_json import holds_run
from rded_core.io.verify.dataset import dataset_checks
from rded_core.io.verify.findings import Findings
from rded_core.io.verify.run import run_checks
from tasks.runtime.progress import track

DOWNLOAD_AGAIN = "download it again, since a dataset without its run cannot be repaired"


def check_files(target: RunFolder | DatasetFolder) -> Findings:
    """Checks every file against its digest, and files against each other; changes nothing.

    Raises:
        InputError: another process writes to the run.
    """
    with unwritten(target):
        return _check_files(target)


@contextmanager
def unwritten(target: RunFolder | DatasetFolder) -> Generator[None]:
    """Raises InputError if another process is writing to a run when a block starts or ends, or has written meanwhile.

    For a dataset, this applies if it lies in its run folder.
    """
    run = target if isinstance(target, RunFolder) else RunFolder(target.root.resolve().parent)
    if isinstance(target, DatasetFolder) and (target.root.resolve() != run.dataset or not holds_run(run)):
        yield
        return
    before = mark_of(run)  # before the lock is checked, so that no writer is missed in between
    _require_no_writer(run, target)
    try:
        yield
    except OSError:
        _require_same(run, target, before)
        raise
    _require_same(run, target, before)


def _require_same(run: RunFolder, target: RunFolder | DatasetFolder, before: Mark) -> None:
    """Raises InputError if another process writes to the run now, or has written since `before`."""
    _require_no_writer(run, target)
    if mark_of(run) != before:
        raise InputError(
            f"{run.root} changed during verification of {target.root}, so the result is inconsistent; run rded verify "
            "again"
        )


def _require_no_writer(run: RunFolder, target: RunFolder | DatasetFolder) -> None:
    if writer := find_writer(run):
        raise InputError(f"{target.root} is being written by {writer}; wait until it is done")


def _check_files(target: RunFolder | DatasetFolder) -> Findings:
    if isinstance(target, RunFolder):
        checks, remedy = run_checks(target), f"rded repair {target.root}"
    else:
        checks, remedy = dataset_checks(target), DOWNLOAD_AGAIN
    findings = Findings(target.root, remedy=remedy)
    for check in track(checks, total=len(checks), what="check files", unit="check"):
        check(findings)
    return findings
