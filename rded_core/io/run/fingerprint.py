"""A fingerprint of a run folder, which differs after every write to it."""

from contextlib import suppress
from pathlib import Path

from rded_core.io.layout.run import STAGES, RunFolder
from rded_core.io.storage.files import file_digest

Mark = dict[Path, object]


def mark_of(run: RunFolder) -> Mark:
    """Returns what every writer changes: run.json, the dataset and its record, or the folder of a stage.

    A file of a stage gets its name in its folder once it is whole, which changes the folder's modification time.
    """
    mark: Mark = {}
    for each in (run, *run.controls()):
        for path in (each.run_json, each.run_json_copy, each.record("publish", "dataset")):
            with suppress(OSError):
                mark[path] = file_digest(path)
        for folder in map(each.stage, STAGES):
            with suppress(OSError):
                mark[folder] = folder.stat().st_mtime_ns
        with suppress(OSError):
            mark[each.dataset] = each.dataset.stat().st_ino  # not its time: files of a user may come and go
    return mark
