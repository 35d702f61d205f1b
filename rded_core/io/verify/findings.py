"""Findings of a check: faults, notes, and the one place that compares a file with its digest."""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rded_core.io.storage.files import file_digest

FaultKind = Literal["missing", "damaged", "unexpected", "inconsistent", "differs"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of one file.

    Attributes:
        kind: ``missing``; ``damaged`` (bytes changed since it was written); ``unexpected`` (no record lists the file);
            ``inconsistent`` (whole, but in conflict with other files); ``differs`` (from the recomputed result).
        path: the file.
        what: what is wrong with it, in a few words.
        remedy: what to do about it.
    """

    kind: FaultKind
    path: Path
    what: str
    remedy: str


class Findings:
    """Results of checks so far; each file counts once.

    Args:
        root: folder under check.
        remedy: remedy of faults that have none of their own.

    Attributes:
        faults: faults, in the order found.
        notes: remarks that are not faults.
        unchecked: what could not be checked, and why.
        known: files that are accounted for, whole or not.
        foreign: files that rded did not write.
        whole: files whose bytes are as written.
        num_bytes: total size of the whole files.
    """

    def __init__(self, root: Path, *, remedy: str) -> None:
        self.root, self.remedy = root, remedy
        self.faults: list[Fault] = []
        self.notes: list[str] = []
        self.unchecked: list[str] = []
        self.known: set[Path] = set()
        self.foreign: set[Path] = set()
        self.whole: set[Path] = set()
        self.num_bytes = 0
        self._named: set[tuple[FaultKind, Path]] = set()

    def add(self, kind: FaultKind, path: Path, what: str, *, remedy: str = "") -> None:
        """Adds a fault, unless the file already has one of that kind."""
        self.known.add(path)
        if (kind, path) not in self._named:
            self._named.add((kind, path))
            self.faults.append(Fault(kind, path, what, remedy or self.remedy))

    def note_foreign(self, path: Path, more: str = "") -> None:
        """Adds a note on a file that rded did not write; it is not a fault, and is never removed."""
        if path not in self.foreign:
            self.foreign.add(path)
            self.notes.append(f"{self.shown(path)}: not written by rded{more}; left as it is")

    def accept(self, path: Path) -> None:
        """Counts a file as whole."""
        self.known.add(path)
        if path not in self.whole:
            self.whole.add(path)
            self.num_bytes += path.stat().st_size

    def check_digest(self, path: Path, digest: str, named_by: str) -> None:
        """Compares a file with its digest, which is listed in the file called `named_by`."""
        try:
            if file_digest(path) == digest:
                self.accept(path)
            else:
                self.add("damaged", path, f"does not match its digest in {named_by}")
        except (FileNotFoundError, NotADirectoryError):
            self.add("missing", path, f"listed in {named_by}")
        except OSError as error:
            self.add("damaged", path, f"cannot be read ({error.strerror})")

    def without(self, path: Path) -> "Findings":
        """Returns a copy of the findings without the faults of one file."""
        rest = copy(self)
        rest.faults = [fault for fault in self.faults if fault.path != path]
        return rest

    def shown(self, path: Path) -> str:
        """Returns a file's path for display: relative to the folder under check, if it lies inside."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)


Check = Callable[[Findings], None]
"""One step of a check; steps of one list are taken in order."""
