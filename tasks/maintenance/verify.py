"""Check a run folder, or a dataset alone, with progress that is seen; starts no Prefect."""

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

FETCH_AGAIN = "fetch it again: a dataset without its run cannot be made again"


def check_files(target: RunFolder | DatasetFolder) -> Findings:
    """Holds every file to its digest, and what files say to each other; changes nothing.

    Raises:
        InputError: somebody writes there.
    """
    with unwritten(target):
        return _check_files(target)


@contextmanager
def unwritten(target: RunFolder | DatasetFolder) -> Generator[None]:
    """Raises InputError where somebody writes to a run before, during or after a block: what it found is of two states.

    Of a dataset this is so where it lies in its run folder.
    """
    run = target if isinstance(target, RunFolder) else RunFolder(target.root.resolve().parent)
    if isinstance(target, DatasetFolder) and (target.root.resolve() != run.dataset or not holds_run(run)):
        yield
        return
    before = mark_of(run)  # before the look at the lock, so that no writer comes between the two
    _require_no_writer(run, target)
    try:
        yield
    except OSError:
        _require_same(run, target, before)
        raise
    _require_same(run, target, before)


def _require_same(run: RunFolder, target: RunFolder | DatasetFolder, before: Mark) -> None:
    """Raises InputError where somebody writes now, or has come and gone."""
    _require_no_writer(run, target)
    if mark_of(run) != before:
        raise InputError(
            f"somebody wrote to {run.root} while {target.root} was checked, so what was found is of two states; verify "
            "again"
        )


def _require_no_writer(run: RunFolder, target: RunFolder | DatasetFolder) -> None:
    if writer := find_writer(run):
        raise InputError(f"{target.root} is being written by {writer}; verify when it is done")


def _check_files(target: RunFolder | DatasetFolder) -> Findings:
    if isinstance(target, RunFolder):
        checks, remedy = run_checks(target), f"rded repair {target.root}"
    else:
        checks, remedy = dataset_checks(target), FETCH_AGAIN
    findings = Findings(target.root, remedy=remedy)
    for check in track(checks, total=len(checks), what="check files"):
        check(findings)
    return findings
