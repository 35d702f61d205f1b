"""One writer at a time at a URL: a lock file that its holder renews, since storages have no locks of their own."""

import json
import logging
import os
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any

from rded_core.errors import InputError, OutInUse, RunStopped, first_line
from rded_core.io.layout.run import LOCK_NAME
from rded_core.io.storage.host import is_running, machine, who_am_i
from rded_core.io.storage.retries import ATTEMPTS, ask_storage, http_status
from rded_core.io.storage.urls import join_path, open_filesystem

BEAT_S = 20.0
LEASE_S = 180.0
"""Seconds without renewal after which a lock expires; clocks of machines may differ by a minute or two."""

SETTLE_S = 1.0

logger = logging.getLogger(__name__)

TAKEN = frozenset({409, 412})
"""HTTP statuses of a storage that refuses to create a file that another client has just created."""

_held: dict[str, "_Lock"] = {}
"""Locks of this process, by URL."""

_tokens: set[str] = set()
"""Tokens of the locks that this process holds or is taking; any other lock with its ID is a failed release."""


@contextmanager
def only_writer_at(url: str) -> Generator[None]:
    """Holds the lock of the run folder at `url` while a block writes to it.

    A process that already holds it continues: one flow runs another. The lock of an ended process of this machine is
    taken over at once, any other when it has not been renewed for three minutes.

    Raises:
        OutInUse: another process writes there, which the message names.
        InputError: the storage cannot be written.
        RunStopped: the lock was taken over while the block ran.
    """
    url = url.rstrip("/")
    if url in _held:
        yield
        return
    lock = _Lock(url)
    lock.take()
    beat = Thread(target=lock.renew, name="remote-lock", daemon=True)
    beat.start()
    _held[url] = lock
    try:
        yield
    finally:
        del _held[url]
        lock.ended.set()
        beat.join()
        lock.release()
    lock.require()


def held_token(url: str) -> str:
    """Returns the token of this process's lock at a URL, by which its workers recognise it; empty if it holds none."""
    lock = _held.get(url.rstrip("/"))
    return lock.token if lock else ""


def require_held(url: str, token: str = "") -> None:
    """Raises RunStopped if this process, or the run that it works for, no longer holds the lock at a URL.

    Args:
        url: URL of the run folder.
        token: token of the run's lock, if this process is one of its workers.
    """
    if lock := _held.get(url.rstrip("/")):
        lock.require()
    elif token and not _Lock(url.rstrip("/"), token).is_mine():
        raise _taken_over(url)


def _taken_over(url: str) -> RunStopped:
    return RunStopped(f"lost the lock at {url}, which another run may have taken over; run again when that run is done")


def find_writer_at(url: str) -> str:
    """Returns who else is writing at a URL now; empty if no one is."""
    lock = _Lock(url.rstrip("/"))
    current = lock.read()
    return str(current["who"]) if current is not None and lock.url not in _held and not lock.is_stale(current) else ""


class _Lock:
    """A lock file at a URL, with its holder and the time of its last renewal."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url, self.token = url, token or uuid.uuid4().hex
        self.ended = Event()
        self.lost = False
        self._filesystem, inner = open_filesystem(url)
        self._path = join_path(inner, LOCK_NAME)
        self._mine = {"token": self.token, "who": who_am_i(), "machine": machine(), "pid": os.getpid()}
        self._fresh = time.monotonic()

    def take(self) -> None:
        """Writes the lock file; raises OutInUse if another process holds it.

        It is read first: not every storage keeps its promise to create a file only if it does not exist.
        """
        taken_over = False
        _tokens.add(self.token)
        while not self.is_mine():
            if (current := self.read()) is not None:
                self._require_stale(current)
                self._remove()
                taken_over = True
            with suppress(FileExistsError):
                self._write(mode="create")
            if taken_over:  # another process may have seen the same stale lock, and removed this one instead
                time.sleep(SETTLE_S)
        self._fresh = time.monotonic()

    def is_stale(self, current: dict[str, Any]) -> bool:
        """Returns True if the holder of a lock has ended, or has not renewed it in time."""
        is_here = current["machine"] == machine()
        is_leftover = current["pid"] == os.getpid() and current["token"] not in _tokens  # its release failed
        is_dead = is_here and (is_leftover or not is_running(current["pid"]))
        return is_dead or time.time() - current["at"] >= LEASE_S

    def require(self) -> None:
        """Raises RunStopped if this process has lost the lock, or may have lost it by now."""
        if self.lost or time.monotonic() - self._fresh > LEASE_S:
            raise _taken_over(self.url)

    def renew(self) -> None:
        """Renews the lock every few seconds, until it has `ended` or is lost."""
        while not self.ended.wait(BEAT_S):
            try:
                self.lost = not self.is_mine()
                if self.lost:
                    return
                self._write()
                self._fresh = time.monotonic()
            except (InputError, OSError) as error:
                logger.warning("could not renew the lock at %s: %s", self.url, first_line(error))

    def release(self) -> None:
        """Removes the lock file, if this process still holds it."""
        _tokens.discard(self.token)
        try:
            if self.is_mine():
                self._remove()
        except (InputError, OSError) as error:
            logger.warning("could not release the lock at %s: %s", self.url, first_line(error))

    def read(self) -> dict[str, Any] | None:
        """Returns the content of the lock file; None if it does not exist. Any other file counts as a stale lock."""
        try:
            data = self._ask(lambda: self._filesystem.cat_file(self._path), "read")
        except FileNotFoundError:
            return None
        try:
            current = json.loads(data)
            texts = {name: str(current[name]) for name in ("token", "who", "machine")}
            return {**texts, "pid": int(current["pid"]), "at": float(current["at"])}
        except (ValueError, KeyError, TypeError):
            return {"token": "", "who": "unknown", "machine": "", "pid": 0, "at": 0.0}

    def _require_stale(self, current: dict[str, Any]) -> None:
        """Raises OutInUse if a lock is still held."""
        if not self.is_stale(current):
            raise OutInUse(
                f"--out {self.url} is being written by {current['who']} (last seen "
                f"{max(time.time() - current['at'], 0):.0f} s ago); wait until it is done ({LEASE_S:.0f} s if it "
                "died), or choose another --out"
            )

    def is_mine(self) -> bool:
        """Returns True if the lock file has this lock's token."""
        current = self.read()
        return current is not None and current["token"] == self.token

    def _remove(self) -> None:
        with suppress(FileNotFoundError):
            self._ask(lambda: self._filesystem.rm_file(self._path), "write")

    def _write(self, **how: str) -> None:
        content = json.dumps({**self._mine, "at": time.time()}).encode()
        try:
            self._ask(lambda: self._filesystem.pipe_file(self._path, content, **how), "write")
        except FileNotFoundError as error:
            raise InputError(f"cannot write {self.url}: {first_line(error)}; create the bucket first") from error
        except InputError as error:
            if how and error.__cause__ and http_status(error.__cause__) in TAKEN:
                raise FileExistsError(self._path) from error
            raise

    def _ask(self, action: Callable[[], Any], doing: str) -> Any:
        """Asks the storage, again if it is busy, but only once to release the lock, which expires without it."""
        attempts = 1 if self.ended.is_set() else ATTEMPTS
        answers = (FileNotFoundError, FileExistsError)
        return ask_storage(action, self.url, doing=doing, answers=answers, attempts=attempts)
