"""Check a run folder, or a dataset alone, with progress that is seen; starts no Prefect."""

from rded_core.io.findings import Findings
from rded_core.io.paths import DatasetFolder, RunFolder
from rded_core.io.verify_dataset import dataset_checks
from rded_core.io.verify_run import run_checks
from tasks.progress import track

FETCH_AGAIN = "fetch it again: a dataset without its run cannot be made again"


def check_files(target: RunFolder | DatasetFolder) -> Findings:
    """Holds every file to its digest, and what files say to each other; changes nothing."""
    if isinstance(target, RunFolder):
        checks, remedy = run_checks(target), f"rded repair {target.root}"
    else:
        checks, remedy = dataset_checks(target), FETCH_AGAIN
    findings = Findings(target.root, remedy=remedy)
    for check in track(checks, total=len(checks), what="check files"):
        check(findings)
    return findings
