"""The members of a tar: what is stored where, with links inside the archive resolved."""

import io
import posixpath
import tarfile
from collections.abc import Iterator
from typing import NamedTuple

from rded_core.io.formats.shards import has_end_mark, read_members

MAX_LINKS = 40
"""Links that may follow each other, as in Linux."""


class Member(NamedTuple):
    """A file of a tar: its name and its place; a link has the place of its target.

    `broken` says what a link leads to if that is not a file of the tar; its place is then -1.
    """

    name: str
    offset: int
    num_bytes: int
    broken: str = ""


class Members:
    """The files of a tar in order, and then its links: GNU tar stores a file's second name as a link.

    Attributes:
        stream: the tar.
    """

    def __init__(self, stream: io.RawIOBase | io.BufferedReader) -> None:
        self.stream = stream
        self._archive: tarfile.TarFile | None = None

    @property
    def has_end_mark(self) -> bool:
        """Whether the tar is marked as complete; known once all members have been listed."""
        return self._archive is None or has_end_mark(self._archive, self.stream)

    def __iter__(self) -> Iterator[Member]:
        """Yields the members; raises tarfile.TarError if the tar is damaged or a member is sparse."""
        places: dict[str, Member] = {}
        links: list[tuple[str, str]] = []
        for archive, member in read_members(self.stream):
            self._archive = archive
            if member.isfile():
                found = Member(member.name, member.offset_data, member.size)
                places[posixpath.normpath(member.name)] = found
                yield found
            elif member.islnk() or member.issym():
                links.append((member.name, _target_of(member)))
        yield from _resolve(links, places)


def _resolve(links: list[tuple[str, str]], places: dict[str, Member]) -> Iterator[Member]:
    targets = {posixpath.normpath(name): target for name, target in links}
    for name, target in links:
        place = _follow(target, targets, places)
        yield Member(name, -1, -1, place) if isinstance(place, str) else Member(name, place.offset, place.num_bytes)


def _target_of(member: tarfile.TarInfo) -> str:
    """Returns the name that a link points to: hard links name it from the top, symbolic ones from their folder."""
    folder = posixpath.dirname(member.name) if member.issym() else ""
    return posixpath.normpath(posixpath.join(folder, member.linkname))


def _follow(target: str, targets: dict[str, str], places: dict[str, Member]) -> Member | str:
    """Returns the file that links lead to, or in words what they lead to if it is not in the tar."""
    for _ in range(MAX_LINKS):
        if target in places:
            return places[target]
        if target not in targets:
            return "a link to a file that is not in the tar"
        target = targets[target]
    return "a link that leads to itself"
