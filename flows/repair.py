"""Repair a run: mend what can be mended from other files, let the flow make the rest again, then look once more."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from flows.distill import distill
from tasks.maintenance.redo import other_device, runs_to_redo, tell_mended, work_to_redo
from tasks.maintenance.repair import drop_useless, mend_files, run_to_repair
from tasks.maintenance.verify import check_files

if TYPE_CHECKING:
    from rded_core.io.layout.run import RunFolder
    from rded_core.io.verify.findings import Findings


def repair(run: "RunFolder", *, tell: Callable[[str], object]) -> "Findings":
    """Makes again what is damaged or missing in a run folder and nothing else; returns what is wrong after that.

    Args:
        run: the run folder; its controls are mended with it.
        tell: called with a line for each thing done.

    Raises:
        InputError: what is damaged cannot be made again, since what it was made from has changed or gone.
    """
    with run_to_repair(run):
        findings = check_files(run)
        if not findings.faults:
            return findings
        for line in mend_files(run, findings):
            tell(line)
        work = findings.without(run.forgetting)  # a note of what to do: no work makes it again
        for each in runs_to_redo(run, work):
            config, classes = work_to_redo(each, work)
            if note := other_device(each, config):
                tell(note)
            distill(config, only_classes=classes)
        after = check_files(run)
        for line in tell_mended(run, work, after):
            tell(line)
        dropped = list(drop_useless(run, after))
        for line in dropped:
            tell(line)
        return check_files(run) if dropped else after
