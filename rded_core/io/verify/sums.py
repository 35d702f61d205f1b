"""Checks of a dataset folder's files against SHA256SUMS."""

from functools import partial
from pathlib import Path

from rded_core.io.formats.sealed import DamagedRecord
from rded_core.io.formats.sums import read_sums
from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.storage.atomic import is_temporary
from rded_core.io.storage.files import link_or_copy
from rded_core.io.verify.findings import Check, FaultKind, Findings


def sum_checks(folder: DatasetFolder, expected: str | None = None) -> list[Check]:
    """Returns the steps that check every file of a dataset against SHA256SUMS, and that file against `expected`."""
    try:
        listed = read_sums(folder, expected)
    except (FileNotFoundError, NotADirectoryError):
        return [partial(_leave_unlisted, folder, "missing")]
    except (OSError, DamagedRecord):
        return [partial(_leave_unlisted, folder, "damaged")]
    there = {path.relative_to(folder.root).as_posix(): path for path in folder.files()}
    digests: list[Check] = [
        partial(_check_digest, path=folder.root / name, digest=digest, named_by=folder.sums.name)
        for name, digest in listed.items()
    ]
    strays: list[Check] = [partial(_name_stray, folder, there[name]) for name in sorted(there.keys() - listed.keys())]
    return [lambda findings: findings.accept(folder.sums), *digests, *strays]


def _check_digest(findings: Findings, *, path: Path, digest: str, named_by: str) -> None:
    findings.check_digest(path, digest, named_by)


def _leave_unlisted(folder: DatasetFolder, kind: FaultKind, findings: Findings) -> None:
    """Reports unreadable sums; the files that they listed count as known, to be checked once the sums are whole."""
    findings.add(kind, folder.sums, "without it no other file here can be checked")
    for path in folder.files():
        if folder.may_hold(path):
            findings.known.add(path)
        else:
            _name_stray(folder, path, findings)


def _name_stray(folder: DatasetFolder, path: Path, findings: Findings) -> None:
    if is_temporary(path):
        findings.add("unexpected", path, "a temporary file left behind")
    elif folder.may_hold(path):
        findings.add("unexpected", path, f"not in {folder.sums.name}")
    else:
        findings.note_foreign(path, f", not in {folder.sums.name}")


def keep_foreign(old: DatasetFolder, new: DatasetFolder) -> None:
    """Links or copies into `new`, which is to replace `old`, the files in `old` that rded did not write."""
    for path in old.files():
        if not old.may_hold(path) and not is_temporary(path):
            link_or_copy(path, new.root / path.relative_to(old.root))
