"""One writer at a time at a URL: a lock file that its holder keeps fresh, since storages have no locks of their own."""

import json
import logging
import os
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any

from rded_core.errors import InputError, RunStopped, first_line
from rded_core.io.files import HOST, is_running
from rded_core.io.locks import who_am_i
from rded_core.io.mirrors import LOCK_NAME
from rded_core.io.retries import retry_transient
from rded_core.io.storage import join_path, open_filesystem

BEAT_S = 20.0
LEASE_S = 180.0
"""What its holder has not kept fresh for so long, is held no more; clocks of machines may differ by a minute or two."""

SETTLE_S = 1.0

logger = logging.getLogger(__name__)


@contextmanager
def only_writer_at(url: str) -> Generator[None]:
    """Holds the run folder at `url` while a block writes to it.

    A lock whose holder was a process of this machine that has ended is taken over at once, any other when it has not
    been kept fresh for three minutes.

    Raises:
        InputError: somebody else writes there, who is named; or the storage cannot be written.
        RunStopped: the lock was taken over while the block ran.
    """
    lock = _Lock(url)
    lock.take()
    beat = Thread(target=lock.keep_fresh, name="remote-lock", daemon=True)
    beat.start()
    try:
        yield
    finally:
        lock.ended.set()
        beat.join()
        lock.give_back()
    if lock.lost:
        raise RunStopped(f"{url} was taken over by another run while this one wrote to it; run again when it is done")


class _Lock:
    """A lock file at a URL, with who holds it and when that was last true."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.ended = Event()
        self.lost = False
        self._filesystem, inner = open_filesystem(url)
        self._path = join_path(inner, LOCK_NAME)
        self._mine = {"token": uuid.uuid4().hex, "who": who_am_i(), "host": HOST, "pid": os.getpid()}

    def take(self) -> None:
        """Writes the lock file; raises InputError where somebody else holds it."""
        taken_over = False
        while True:
            try:
                self._write(mode="create")
            except FileExistsError:
                self._require_stale(self._read())
                with suppress(FileNotFoundError):
                    self._ask(lambda: self._filesystem.rm_file(self._path))
                taken_over = True
                continue
            except FileNotFoundError as error:
                raise InputError(f"cannot write {self.url}: {first_line(error)}; make the bucket first") from error
            if taken_over:  # another may have found the same stale lock, and removed this one in its place
                time.sleep(SETTLE_S)
            if not taken_over or self._is_mine():
                return

    def _is_mine(self) -> bool:
        held = self._read()
        return held is not None and held["token"] == self._mine["token"]

    def _require_stale(self, held: dict[str, Any] | None) -> None:
        """Raises InputError where a lock is still held."""
        if held is None:
            return
        silent_s = time.time() - held["at"]
        is_dead = held["host"] == HOST and not is_running(held["pid"])
        if not is_dead and silent_s < LEASE_S:
            raise InputError(
                f"--out {self.url} is being written by {held['who']} (seen {max(silent_s, 0):.0f} s ago); wait until "
                f"it is done ({LEASE_S:.0f} s if it died), or choose another --out"
            )

    def keep_fresh(self) -> None:
        """Tells every few seconds that the lock is held, until `ended`."""
        while not self.ended.wait(BEAT_S):
            try:
                self.lost = not self._is_mine()
                if self.lost:
                    return
                self._write()
            except (InputError, OSError) as error:
                logger.warning("the lock at %s could not be kept fresh: %s", self.url, first_line(error))

    def give_back(self) -> None:
        """Removes the lock file, if it is still this process's."""
        try:
            if self._is_mine():
                self._ask(lambda: self._filesystem.rm_file(self._path))
        except (InputError, OSError) as error:
            logger.warning("the lock at %s could not be given back: %s", self.url, first_line(error))

    def _write(self, **how: str) -> None:
        content = json.dumps({**self._mine, "at": time.time()}).encode()
        self._ask(lambda: self._filesystem.pipe_file(self._path, content, **how))

    def _read(self) -> dict[str, Any] | None:
        """Returns what the lock file says; None where there is none, or one that is no lock of ours."""
        try:
            held = json.loads(self._ask(lambda: self._filesystem.cat_file(self._path)))
            return {name: held[name] for name in ("token", "who", "host", "pid", "at")}
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def _ask(self, action: Any) -> Any:
        """Asks the storage; FileNotFoundError and FileExistsError are answers.

        Raises:
            InputError: it cannot be written.
        """
        try:
            return retry_transient(action, self.url, doing="write")
        except (FileNotFoundError, FileExistsError):
            raise
        except (OSError, NotImplementedError, TypeError) as error:
            raise InputError(
                f"cannot write {self.url}: {first_line(error)}; check the address and your rights"
            ) from error
