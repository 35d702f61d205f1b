"""Run folders at URLs: a copy on this machine, which all work is done in, and how the two are brought level."""

import fcntl
import logging
import os
import tempfile
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rded_core.config.choices import no_secret
from rded_core.errors import InputError, RunStopped, first_line
from rded_core.io.remote.lease import require_held
from rded_core.io.remote.places import copies, copy_name, told_with_url
from rded_core.io.remote.state import Here, MirrorState, Row
from rded_core.io.remote.transfer_order import NOTES_TO_FORGET, SendOrder, is_sent, send_order, sums_beside
from rded_core.io.storage.atomic import is_temporary, write_atomically
from rded_core.io.storage.files import file_stamp
from rded_core.io.storage.retries import ask_storage
from rded_core.io.storage.urls import join_path, open_filesystem, remote_stamp

logger = logging.getLogger(__name__)

TRANSFERS = 16
"""Small files on their way at a time: each waits for the network, not for a core."""

LARGE_BYTES = 16 * 2**20
LARGE_TRANSFERS = 2
"""A large file is cut into parts by the storage's client, which keeps several of them in memory."""

Wanted = Callable[[str], bool]
"""Picks files by their POSIX path below the run folder."""


def everything(_: str) -> bool:
    """Picks every file."""
    return True


class _Gone(Exception):
    """A file that was removed after it was listed."""


class Mirror:
    """This machine's copy of a run folder at a URL.

    Files are compared with what they were when both sides were last level. What has been written or removed at the URL
    since wins over a change here, which a process that died may have left while others went on.

    Args:
        url: of the run folder, in any form that fsspec can write.
        folder: where to keep the copy; by default where runs on this machine have theirs.
        token: of the lock of the run that this process works for, where it holds none itself.

    Raises:
        InputError: the URL holds a secret, or its storage is unknown, or not installed.

    Attributes:
        url: without a slash at its end.
        root: the copy.
    """

    def __init__(self, url: str, folder: Path | None = None, *, token: str = "") -> None:
        no_secret(out=url)
        self.url, self._token = url.rstrip("/"), token
        self.root = (folder or copies()) / copy_name(url)
        self._filesystem, self._inner = open_filesystem(self.url)
        self._state = MirrorState(self.root.with_name(f"{self.root.name}.sqlite"))

    def names(self) -> list[str]:
        """Lists the files at the URL by their paths below it."""
        return sorted(self._list())

    def is_level(self) -> bool:
        """Tells whether what lies at the URL is what was there when all of it was fetched."""
        there = {path: stamp for path, (stamp, _) in self._list().items()}
        return there == {path: stamp for path, (stamp, _) in self._state.read().items()}

    def pull(self, wanted: Wanted = everything) -> None:
        """Fetches what has been written at the URL, and removes what has been removed there.

        Where images have been forgotten since, all that is here goes, also what nobody wants now: it may show them.

        Raises:
            InputError: the storage cannot be read.
        """
        with self._alone():
            known = self._state.read()  # first: what is sent in between is then not taken for removed
            there = self._list()
            if any(known.get(path, ("",))[0] != there[path][0] for path in NOTES_TO_FORGET if path in there):
                self._start_anew()
                known = {}
            there = {path: entry for path, entry in there.items() if wanted(path) or path in NOTES_TO_FORGET}
            self._each(
                self._fetch, [(path, *entry) for path, entry in there.items() if self._is_old(path, entry, known)]
            )
            gone = [path for path in known.keys() - there.keys() if wanted(path)]
            for path in gone:
                (self.root / path).unlink(missing_ok=True)
            self._state.drop(gone)

    def push(self, wanted: Wanted = everything) -> None:
        """Writes to the URL what has changed here since both were level, and removes there what was removed here.

        Records come after the files that they vouch for, and a dataset's checksums last of all: until they are there,
        nobody takes it for whole.

        Raises:
            InputError: the storage cannot be written.
            RunStopped: somebody else has taken over the run folder.
        """
        require_held(self.url, self._token)
        known = {path: row for path, row in self._state.read().items() if wanted(path)}
        here = {path: stamp for path, stamp in self._files() if wanted(path)}
        changed = [path for path, stamp in here.items() if path not in known or known[path][1] != stamp]
        gone = [path for path in known if path not in here]
        touched = {sums for path in (*changed, *gone) if (sums := sums_beside(path))}
        to_send = {*changed, *(touched & here.keys())}
        self._remove(touched & known.keys())
        for order in SendOrder:
            if order is SendOrder.SUMS:
                self._remove(path for path in gone if path not in touched)
            self._each(
                self._send, [(path, here[path], here[path][1]) for path in sorted(to_send) if send_order(path) is order]
            )

    @contextmanager
    def level(self, wanted: Wanted = everything) -> Generator[None]:
        """Fetches before a block, and sends what it wrote after it, also where it fails: what is done is kept."""
        with told_with_url():
            require_held(self.url, self._token)
            self.pull(wanted)
            with self.pushing(wanted):
                yield

    @contextmanager
    def pushing(self, wanted: Wanted = everything) -> Generator[None]:
        """Sends after a block what it wrote; where it fails, its error is the one that is raised."""
        try:
            yield
        except BaseException:
            try:
                self.push(wanted)
            except (InputError, RunStopped) as error:
                logger.warning("what was done could not be sent: %s", error)
            raise
        self.push(wanted)

    def _is_old(self, path: str, entry: tuple[str, int], known: Mapping[str, tuple[str, Here]]) -> bool:
        """Tells whether a file at the URL has to be fetched."""
        return path not in known or known[path][0] != entry[0] or file_stamp(str(self.root / path)) == (0, 0)

    @contextmanager
    def _alone(self) -> Generator[None]:
        """Has one process of this machine at a time bring the copy level."""
        self.root.mkdir(parents=True, exist_ok=True)
        with self.root.with_name(f"{self.root.name}.lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def _start_anew(self) -> None:
        """Has nothing here any more: moved away first, so that what cannot be removed is not sent again."""
        try:
            with tempfile.TemporaryDirectory(prefix=".old-", dir=self.root.parent) as away:
                self.root.rename(Path(away, "copy"))
                self._state.clear()
                self.root.mkdir(parents=True)
        except OSError as error:
            raise InputError(
                f"cannot remove {self.root}, which shows images that have been forgotten: {first_line(error)}; delete "
                "it by hand, then run again"
            ) from error

    def _list(self) -> dict[str, tuple[str, int]]:
        """Returns stamp and size of each file at the URL, by its path."""
        self._filesystem.invalidate_cache()
        try:
            found: dict[str, Any] = self._ask(lambda: self._filesystem.find(self._inner, detail=True), "list")
        except FileNotFoundError:
            return {}
        prefix = self._inner.rstrip("/") + "/"
        entries = {path.removeprefix(prefix): entry for path, entry in found.items() if path.startswith(prefix)}
        return {path: self._stamp(entry) for path, entry in entries.items() if is_sent(path)}

    def _stamp(self, info: Mapping[str, Any]) -> tuple[str, int]:
        stamp, size = remote_stamp(info), int(info.get("size") or 0)
        if not stamp:
            raise InputError(
                f"{self.url}: this storage does not tell when a file was written; choose another for --out"
            )
        return f"{stamp}-{size}", size

    def _files(self) -> Iterable[tuple[str, Here]]:
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = Path(folder, name)
                relative = path.relative_to(self.root).as_posix()
                if is_sent(relative) and not is_temporary(path) and (stamp := file_stamp(str(path))) != (0, 0):
                    yield relative, stamp

    def _fetch(self, path: str, stamp: str) -> Row | None:
        target, inner = self.root / path, join_path(self._inner, path)

        def fetch(temporary: Path) -> None:
            try:
                self._ask(lambda: self._filesystem.get_file(inner, str(temporary)), "read")
            except FileNotFoundError as error:
                raise _Gone from error

        try:
            write_atomically(target, fetch)
        except _Gone:
            return None
        return path, stamp, *file_stamp(str(target))

    def _send(self, path: str, here: Here) -> Row | None:
        inner, source = join_path(self._inner, path), self.root / path
        if not source.is_file():  # removed since it was listed
            return None
        self._ask(lambda: self._filesystem.put_file(str(source), inner), "write")
        self._filesystem.invalidate_cache(inner)
        return path, self._stamp(self._ask(lambda: self._filesystem.info(inner), "read"))[0], *here

    def _remove(self, paths: Iterable[str]) -> None:
        removed = sorted(paths)
        for path in removed:
            inner = join_path(self._inner, path)
            with suppress(FileNotFoundError):  # somebody else has
                self._ask(lambda inner=inner: self._filesystem.rm_file(inner), "remove")
        self._state.drop(removed)

    def _each(self, move: Callable[[str, Any], Row | None], rows: list[tuple[str, Any, int]]) -> None:
        """Moves files, given with stamp and size, the small ones many at a time; notes those that came through."""
        moved: list[Row | None] = []
        try:
            for is_large, at_once in ((False, TRANSFERS), (True, LARGE_TRANSFERS)):
                chosen = [(path, stamp) for path, stamp, size in rows if (size > LARGE_BYTES) is is_large]
                with ThreadPoolExecutor(at_once, thread_name_prefix="mirror") as pool:
                    moved.extend(pool.map(lambda each: move(*each), chosen))
        finally:
            self._state.note(row for row in moved if row is not None)

    def _ask(self, action: Callable[[], Any], doing: str) -> Any:
        """Asks the storage, again where it is busy; FileNotFoundError is an answer, but not of writing."""
        answers = () if doing == "write" else (FileNotFoundError,)
        return ask_storage(action, self.url, doing=doing, answers=answers)
