"""Repair a run: restore what other files allow, remake the rest with the distill flow, then check again."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from flows.distill import distill
from tasks.repair.mend import drop_useless, mend_files, run_to_repair
from tasks.repair.redo import describe_mended, other_device, runs_to_redo, work_to_redo
from tasks.verify.files import check_files

if TYPE_CHECKING:
    from rded_core.io.layout.run import RunFolder
    from rded_core.io.verify.findings import Findings


def repair(run: "RunFolder", *, tell: Callable[[str], object]) -> "Findings":
    """Remakes what is damaged or missing in a run folder, and nothing else; returns the findings of a check after that.

    Triggered on demand only, by ``rded repair OUT``. It is not a flow itself: it runs the flow `distill` for the run,
    or the control, whose files it has to remake.

    Args:
        run: the run folder; its controls are repaired with it.
        tell: called with a line for each repair.

    Raises:
        InputError: damaged files cannot be remade, because their inputs have changed or are missing.
    """
    with run_to_repair(run):
        findings = check_files(run)
        if not findings.faults:
            return findings
        for line in mend_files(run, findings):
            tell(line)
        work = findings.without(run.forgetting)  # a note of what to do: no stage remakes it
        for each in runs_to_redo(run, work):
            config, classes = work_to_redo(each, work)
            if note := other_device(each, config):
                tell(note)
            distill(config, only_classes=classes)
        after = check_files(run)
        for line in describe_mended(run, work, after):
            tell(line)
        dropped = list(drop_useless(run, after))
        for line in dropped:
            tell(line)
        return check_files(run) if dropped else after
