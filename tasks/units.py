"""Units of work: done once for given inputs, taken from the run folder afterwards."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rded_core.io.files import file_digest
from rded_core.io.manifest import Record, inputs_digest, read_current, write_record
from rded_core.io.paths import RunFolder
from tasks.progress import run_logger


def run_unit(
    run: RunFolder,
    stage: str,
    unit: str,
    *,
    settings: dict[str, Any],
    upstream: list[str],
    outputs: list[Path],
    produce: Callable[[], dict[str, Any]],
) -> Record:
    """Runs `produce` unless its outputs are there already for the same inputs; returns the unit's record.

    Args:
        run: the run folder.
        stage: name of the stage.
        unit: what it covers.
        settings: every config value the outputs depend on.
        upstream: digests of the inputs.
        outputs: files that `produce` writes, all in the stage's folder.
        produce: writes them and returns facts for the record.
    """
    logger = run_logger()
    inputs = inputs_digest(stage, settings, upstream)
    path = run.record(stage, unit)
    current = read_current(path, inputs)
    if current is not None:
        logger.info("%s %s: current, nothing to do", stage, unit)
        return current
    started = time.monotonic()
    facts = produce()
    record = Record(stage, unit, inputs, {output.name: file_digest(output) for output in outputs}, facts)
    write_record(path, record)
    shown = ", ".join(
        f"{name} {f'{value:.4g}' if isinstance(value, float) else value}"
        for name, value in facts.items()
        if isinstance(value, int | float | str)
    )
    logger.info("%s %s: %s, %.1f s, %s", stage, unit, shown or "done", time.monotonic() - started, path.parent)
    return record
