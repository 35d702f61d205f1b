"""SHA256SUMS of a dataset folder, held to its files."""

from typing import Literal, NamedTuple

from rded_core.io.files import file_digest
from rded_core.io.paths import DatasetFolder


class Fault(NamedTuple):
    """One thing that is wrong: ``missing``, ``damaged`` (other bytes) or ``unexpected`` (nobody wrote it)."""

    kind: Literal["missing", "damaged", "unexpected"]
    path: str


def check_sums(folder: DatasetFolder, expected: str | None = None) -> list[Fault]:
    """Compares every file below a dataset with SHA256SUMS, and that with its `expected` digest where one is known."""
    name = folder.sums.name
    try:
        text = folder.sums.read_text(encoding="utf-8")
        listed = {path: digest for digest, _, path in (line.partition("  ") for line in text.splitlines())}
        if expected is not None and file_digest(folder.sums) != expected:
            return [Fault("damaged", name)]
    except (FileNotFoundError, NotADirectoryError):
        return [Fault("missing", name)]
    except (OSError, UnicodeDecodeError):
        return [Fault("damaged", name)]
    there = {path.relative_to(folder.root).as_posix(): path for path in folder.files()}
    faults = [Fault("missing", path) for path in sorted(listed.keys() - there.keys())]
    faults += [Fault("unexpected", path) for path in sorted(there.keys() - listed.keys())]
    for path in sorted(listed.keys() & there.keys()):
        try:
            is_sound = file_digest(there[path]) == listed[path]
        except OSError:
            is_sound = False
        if not is_sound:
            faults.append(Fault("damaged", path))
    return faults
