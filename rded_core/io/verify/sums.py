"""SHA256SUMS of a dataset folder, held to its files."""

from functools import partial
from pathlib import Path

from rded_core.io.formats.sealed import DamagedRecord
from rded_core.io.formats.sums import read_sums
from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.storage.atomic import is_temporary
from rded_core.io.storage.files import link_or_copy
from rded_core.io.verify.findings import Check, FaultKind, Findings


def sum_checks(folder: DatasetFolder, expected: str | None = None) -> list[Check]:
    """Returns the steps that hold every file below a dataset to SHA256SUMS, and that to its `expected` digest."""
    try:
        listed = read_sums(folder, expected)
    except (FileNotFoundError, NotADirectoryError):
        return [partial(_leave_unlisted, folder, "missing")]
    except (OSError, DamagedRecord):
        return [partial(_leave_unlisted, folder, "damaged")]
    there = {path.relative_to(folder.root).as_posix(): path for path in folder.files()}
    held: list[Check] = [
        partial(_hold, path=folder.root / name, digest=digest, named_by=folder.sums.name)
        for name, digest in listed.items()
    ]
    strays: list[Check] = [partial(_name_stray, folder, there[name]) for name in sorted(there.keys() - listed.keys())]
    return [lambda findings: findings.accept(folder.sums), *held, *strays]


def _hold(findings: Findings, *, path: Path, digest: str, named_by: str) -> None:
    findings.hold(path, digest, named_by)


def _leave_unlisted(folder: DatasetFolder, kind: FaultKind, findings: Findings) -> None:
    """Names sums that cannot be read; what they listed is left to be looked at when they are whole again."""
    findings.add(kind, folder.sums, "without it no other file here can be held to its digest")
    for path in folder.files():
        if folder.may_hold(path):
            findings.known.add(path)
        else:
            _name_stray(folder, path, findings)


def _name_stray(folder: DatasetFolder, path: Path, findings: Findings) -> None:
    if is_temporary(path):
        findings.add("unexpected", path, "a temporary file that was left behind")
    elif folder.may_hold(path):
        findings.add("unexpected", path, f"not in {folder.sums.name}")
    else:
        findings.note_foreign(path, f", and in no {folder.sums.name}")


def keep_foreign(old: DatasetFolder, new: DatasetFolder) -> None:
    """Takes over into `new`, which is to replace `old`, the files there that nobody here wrote."""
    for path in old.files():
        if not old.may_hold(path) and not is_temporary(path):
            link_or_copy(path, new.root / path.relative_to(old.root))
