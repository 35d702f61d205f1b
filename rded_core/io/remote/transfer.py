"""Single transfers between a run folder at a URL and its local copy, many of them at a time."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from rded_core.errors import InputError
from rded_core.io.remote.state import Here, MirrorState, Row
from rded_core.io.remote.transfer_order import is_sent
from rded_core.io.storage.download import download
from rded_core.io.storage.files import file_stamp
from rded_core.io.storage.retries import ask_storage
from rded_core.io.storage.urls import join_path, open_filesystem, remote_stamp

TRANSFERS = 16
"""Number of small files transferred at a time: each waits for the network, not for a core."""

LARGE_BYTES = 16 * 2**20
LARGE_TRANSFERS = 2
"""Number of large files transferred at a time: the storage's client keeps several parts of each in memory."""


class Transfers:
    """Moves files, by their POSIX path below both sides, and records the state in which both sides hold them.

    Args:
        url: URL of the run folder, without a trailing slash.
        root: folder of the local copy.
        state: where each file's state is recorded.

    Raises:
        InputError: the URL's storage is unknown, or not installed.
    """

    def __init__(self, url: str, root: Path, state: MirrorState) -> None:
        self.url, self.root, self._state = url, root, state
        self._filesystem, self._inner = open_filesystem(url)

    def list_remote(self) -> dict[str, tuple[str, int]]:
        """Returns stamp and size of each file at the URL, by its path."""
        self._filesystem.invalidate_cache()
        try:
            listing: dict[str, Any] = self._ask(lambda: self._filesystem.find(self._inner, detail=True), "list")
        except FileNotFoundError:
            return {}
        prefix = self._inner.rstrip("/") + "/"
        entries = {path.removeprefix(prefix): entry for path, entry in listing.items() if path.startswith(prefix)}
        return {path: self._stamp(entry) for path, entry in entries.items() if is_sent(path)}

    def fetch(self, files: Iterable[tuple[str, str, int]]) -> None:
        """Fetches files, given with their stamp and size at the URL; files removed there since are left out."""
        self._each(self._fetch, list(files))

    def send(self, files: Iterable[tuple[str, Here]]) -> None:
        """Sends files, given with their local stamp; files removed here since are left out."""
        self._each(self._send, [(path, here, here[1]) for path, here in files])

    def remove(self, paths: Iterable[str]) -> None:
        """Removes files at the URL."""
        removed = sorted(paths)
        for path in removed:
            inner = join_path(self._inner, path)
            with suppress(FileNotFoundError):  # another process has removed it
                self._ask(lambda inner=inner: self._filesystem.rm_file(inner), "remove")
        self._state.drop(removed)

    def _fetch(self, path: str, stamp: str) -> Row | None:
        target = self.root / path
        try:
            download(join_path(self.url, path), target)
        except FileNotFoundError:
            return None
        return path, stamp, *file_stamp(str(target))

    def _send(self, path: str, here: Here) -> Row | None:
        inner, source = join_path(self._inner, path), self.root / path
        if not source.is_file():  # removed since it was listed
            return None
        self._ask(lambda: self._filesystem.put_file(str(source), inner), "write")
        self._filesystem.invalidate_cache(inner)
        return path, self._stamp(self._ask(lambda: self._filesystem.info(inner), "read"))[0], *here

    def _stamp(self, info: Mapping[str, Any]) -> tuple[str, int]:
        stamp, size = remote_stamp(info), int(info.get("size") or 0)
        if not stamp:
            raise InputError(
                f"{self.url}: this storage does not report when a file was written; choose another one for --out"
            )
        return f"{stamp}-{size}", size

    def _each(self, move: Callable[[str, Any], Row | None], rows: list[tuple[str, Any, int]]) -> None:
        """Moves files, given with stamp and size, many small ones at a time; records those that succeeded."""
        moved: list[Row | None] = []
        try:
            for is_large, at_once in ((False, TRANSFERS), (True, LARGE_TRANSFERS)):
                chosen = [(path, stamp) for path, stamp, size in rows if (size > LARGE_BYTES) is is_large]
                with ThreadPoolExecutor(at_once, thread_name_prefix="mirror") as pool:
                    moved.extend(pool.map(lambda each: move(*each), chosen))
        finally:
            self._state.note(row for row in moved if row is not None)

    def _ask(self, action: Callable[[], Any], doing: str) -> Any:
        """Asks the storage, again if it is busy; FileNotFoundError is an answer, except when writing."""
        answers = () if doing == "write" else (FileNotFoundError,)
        return ask_storage(action, self.url, doing=doing, answers=answers)
