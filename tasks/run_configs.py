"""The config of a run that is there, to do more with it."""

from dataclasses import replace

from rded_core.config.distill import DistillConfig
from rded_core.errors import InputError
from rded_core.io.layout.run import RunFolder
from rded_core.io.run_records import read_run


def config_of(run: RunFolder) -> DistillConfig:
    """Returns what a run was last asked to do, at the place where its folder lies now.

    Raises:
        InputError: run.json and its copy are damaged, or another version's.
    """
    fields = read_run(run)["config"]
    fields["classes"] = tuple(fields["classes"]) if fields["classes"] else None
    try:
        return replace(DistillConfig(**fields), out=str(run.root))
    except TypeError as error:
        raise InputError(f"{run.run_json} was written by another version of rded ({error}); distil again") from error
