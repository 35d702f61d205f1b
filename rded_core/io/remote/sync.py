"""Two-way sync between a run folder at a URL and its local working copy."""

import logging
import os
import tempfile
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from rded_core.config.choices import no_secret
from rded_core.errors import InputError, RunStopped, first_line
from rded_core.io.remote.lease import require_held
from rded_core.io.remote.places import copies, copy_name, errors_with_url
from rded_core.io.remote.state import Here, MirrorState
from rded_core.io.remote.transfer import Transfers
from rded_core.io.remote.transfer_order import NOTES_TO_FORGET, SendOrder, is_sent, send_order, sums_beside
from rded_core.io.storage.atomic import is_temporary
from rded_core.io.storage.files import file_stamp

logger = logging.getLogger(__name__)

Wanted = Callable[[str], bool]
"""Selects files by their POSIX path below the run folder."""


def everything(_: str) -> bool:
    """Selects every file."""
    return True


class Mirror:
    """This machine's copy of a run folder at a URL.

    Files are compared with their state when both sides were last in sync. A later write or removal at the URL wins over
    a local change, which a process that died may have left while others continued.

    Args:
        url: URL of the run folder, in any form that fsspec can write.
        folder: folder to keep the copy in; by default the one for all runs on this machine.
        token: token of the lock of the run that this process works for, if it holds no lock itself.

    Raises:
        InputError: the URL holds a secret, or its storage is unknown, or not installed.

    Attributes:
        url: the URL without a trailing slash.
        root: folder of the copy.
    """

    def __init__(self, url: str, folder: Path | None = None, *, token: str = "") -> None:
        no_secret(out=url)
        self.url, self._token = url.rstrip("/"), token
        self.root = (folder or copies()) / copy_name(url)
        self._state = MirrorState(self.root.with_name(f"{self.root.name}.sqlite"))
        self._transfers = Transfers(self.url, self.root, self._state)

    def names(self) -> list[str]:
        """Returns the paths of the files at the URL, below it, sorted."""
        return sorted(self._transfers.list_remote())

    def is_level(self) -> bool:
        """Returns True if the URL still has the files that were there when all of them were fetched."""
        remote = {path: stamp for path, (stamp, _) in self._transfers.list_remote().items()}
        return remote == {path: stamp for path, (stamp, _) in self._state.read().items()}

    def pull(self, wanted: Wanted = everything) -> None:
        """Fetches what was written at the URL since the last sync, and removes what was removed there.

        If images have been forgotten since, the whole copy is removed first, even files not in `wanted`: they may show
        these images.

        Raises:
            InputError: the storage cannot be read.
        """
        with self._alone():
            synced = self._state.read()  # first, so that files sent in between do not count as removed
            remote = self._transfers.list_remote()
            if any(synced.get(path, ("",))[0] != remote[path][0] for path in NOTES_TO_FORGET if path in remote):
                self._clear()
                synced = {}
            remote = {path: entry for path, entry in remote.items() if wanted(path) or path in NOTES_TO_FORGET}
            self._transfers.fetch((path, *entry) for path, entry in remote.items() if self._is_old(path, entry, synced))
            removed = [path for path in synced.keys() - remote.keys() if wanted(path)]
            for path in removed:
                (self.root / path).unlink(missing_ok=True)
            self._state.drop(removed)

    def push(self, wanted: Wanted = everything) -> None:
        """Writes to the URL what has changed here since the last sync, and removes there what was removed here.

        Records are sent after the files that they vouch for, and a dataset's checksums last of all: until they are
        there, the dataset does not count as whole.

        Raises:
            InputError: the storage cannot be written.
            RunStopped: another process has taken over the run folder.
        """
        require_held(self.url, self._token)
        synced = {path: row for path, row in self._state.read().items() if wanted(path)}
        here = {path: stamp for path, stamp in self._files() if wanted(path)}
        changed = [path for path, stamp in here.items() if path not in synced or synced[path][1] != stamp]
        removed = [path for path in synced if path not in here]
        touched = {sums for path in (*changed, *removed) if (sums := sums_beside(path))}
        to_send = {*changed, *(touched & here.keys())}
        self._transfers.remove(touched & synced.keys())
        for order in SendOrder:
            if order is SendOrder.SUMS:
                self._transfers.remove(path for path in removed if path not in touched)
            self._transfers.send((path, here[path]) for path in sorted(to_send) if send_order(path) is order)

    @contextmanager
    def level(self, wanted: Wanted = everything) -> Generator[None]:
        """Fetches before a block, and sends its changes after it, even if it fails: finished work is kept."""
        with errors_with_url():
            require_held(self.url, self._token)
            self.pull(wanted)
            with self.pushing(wanted):
                yield

    @contextmanager
    def pushing(self, wanted: Wanted = everything) -> Generator[None]:
        """Sends the changes of a block after it; if the block fails, its own error is the one raised."""
        try:
            yield
        except BaseException:
            try:
                self.push(wanted)
            except (InputError, RunStopped) as error:
                logger.warning("could not send the finished work: %s", error)
            raise
        self.push(wanted)

    def _is_old(self, path: str, entry: tuple[str, int], synced: Mapping[str, tuple[str, Here]]) -> bool:
        """Returns True if a file at the URL has to be fetched."""
        return path not in synced or synced[path][0] != entry[0] or file_stamp(str(self.root / path)) == (0, 0)

    @contextmanager
    def _alone(self) -> Generator[None]:
        """Lets only one process of this machine at a time sync the copy."""
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root.with_name(f"{self.root.name}.lock")):
            yield

    def _clear(self) -> None:
        """Empties the copy: moved away first, so that files that cannot be removed are not sent again."""
        try:
            with tempfile.TemporaryDirectory(prefix=".old-", dir=self.root.parent) as away:
                self.root.rename(Path(away, "copy"))
                self._state.clear()
                self.root.mkdir(parents=True)
        except OSError as error:
            raise InputError(
                f"cannot remove {self.root}, which may show images that have been forgotten: {first_line(error)}; "
                "delete it by hand, then run again"
            ) from error

    def _files(self) -> Iterable[tuple[str, Here]]:
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = Path(folder, name)
                relative = path.relative_to(self.root).as_posix()
                if is_sent(relative) and not is_temporary(path) and (stamp := file_stamp(str(path))) != (0, 0):
                    yield relative, stamp
