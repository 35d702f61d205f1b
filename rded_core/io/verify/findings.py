"""What a check of files finds, and the one place that holds a file to its digest."""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rded_core.io.storage.files import file_digest

FaultKind = Literal["missing", "damaged", "unexpected", "inconsistent", "differs"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        kind: ``missing``; ``damaged`` (other bytes than were written); ``unexpected`` (nothing accounts for the file);
            ``inconsistent`` (whole, but at odds with other files); ``differs`` (from what was computed again).
        path: the file.
        what: what is wrong with it, in a few words.
        remedy: what to do about it.
    """

    kind: FaultKind
    path: Path
    what: str
    remedy: str


class Findings:
    """What checks have found so far; each file counts once.

    Args:
        root: the folder that is checked.
        remedy: what to do about a fault, where nothing better is known.

    Attributes:
        faults: in the order found.
        notes: what a reader should know that is no fault.
        unchecked: what could not be checked, and why.
        known: files that something accounts for, whole or not.
        foreign: files that nobody here wrote.
        whole: files whose bytes are those that were written.
        num_bytes: of the files whose bytes were looked at.
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
        """Notes a fault, unless the same file has one of that kind already."""
        self.known.add(path)
        if (kind, path) not in self._named:
            self._named.add((kind, path))
            self.faults.append(Fault(kind, path, what, remedy or self.remedy))

    def note_foreign(self, path: Path, more: str = "") -> None:
        """Notes a file that nobody here wrote, so that nobody here removes it, and that is no fault."""
        if path not in self.foreign:
            self.foreign.add(path)
            self.notes.append(f"{self.where(path)}: not ours{more}; it is left as it is")

    def accept(self, path: Path) -> None:
        """Notes a file as whole."""
        self.known.add(path)
        if path not in self.whole:
            self.whole.add(path)
            self.num_bytes += path.stat().st_size

    def hold(self, path: Path, digest: str, named_by: str) -> None:
        """Holds a file to its digest, which `named_by` names."""
        try:
            if file_digest(path) == digest:
                self.accept(path)
            else:
                self.add("damaged", path, f"other bytes than {named_by} says")
        except (FileNotFoundError, NotADirectoryError):
            self.add("missing", path, f"{named_by} names it")
        except OSError as error:
            self.add("damaged", path, f"cannot be read ({error.strerror})")

    def without(self, path: Path) -> "Findings":
        """Returns the findings as they are, but for the faults of one file."""
        rest = copy(self)
        rest.faults = [fault for fault in self.faults if fault.path != path]
        return rest

    def where(self, path: Path) -> str:
        """Returns a file's path as people are told it: from the folder that is checked."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)


Check = Callable[[Findings], None]
"""One step of a check; steps of one list are taken in order."""
