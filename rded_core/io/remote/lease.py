"""One writer at a time at a URL: a lock file that its holder keeps fresh, since storages have no locks of their own."""

import json
import logging
import os
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any

from rded_core.errors import InputError, RunStopped, first_line
from rded_core.io.layout.run import LOCK_NAME
from rded_core.io.storage.host import is_running, machine, who_am_i
from rded_core.io.storage.retries import ATTEMPTS, ask_storage, http_status
from rded_core.io.storage.urls import join_path, open_filesystem

BEAT_S = 20.0
LEASE_S = 180.0
"""What its holder has not kept fresh for so long, is held no more; clocks of machines may differ by a minute or two."""

SETTLE_S = 1.0

logger = logging.getLogger(__name__)

TAKEN = frozenset({409, 412})
"""HTTP statuses of a storage that refuses to create what somebody else has just created."""

_held: dict[str, "_Lock"] = {}
"""Locks of this process, by URL."""

_tokens: set[str] = set()
"""Of the locks that this process holds, or is about to: others of its number are those of a try that failed."""


@contextmanager
def only_writer_at(url: str) -> Generator[None]:
    """Holds the run folder at `url` while a block writes to it; who holds it already goes on: one flow runs another.

    A lock whose holder was a process of this machine that has ended is taken over at once, any other when it has not
    been kept fresh for three minutes.

    Raises:
        InputError: somebody else writes there, who is named; or the storage cannot be written.
        RunStopped: the lock was taken over while the block ran.
    """
    url = url.rstrip("/")
    if url in _held:
        yield
        return
    lock = _Lock(url)
    lock.take()
    beat = Thread(target=lock.keep_fresh, name="remote-lock", daemon=True)
    beat.start()
    _held[url] = lock
    try:
        yield
    finally:
        del _held[url]
        lock.ended.set()
        beat.join()
        lock.give_back()
    lock.require()


def held_token(url: str) -> str:
    """Returns the token of this process's lock at a URL, by which its workers know it; empty where it holds none."""
    lock = _held.get(url.rstrip("/"))
    return lock.token if lock else ""


def require_held(url: str, token: str = "") -> None:
    """Raises RunStopped where the lock at a URL is no more that of this process, or of the run that it works for.

    Args:
        url: of the run folder.
        token: of the run's lock, where this is a worker of its.
    """
    if lock := _held.get(url.rstrip("/")):
        lock.require()
    elif token and not _Lock(url.rstrip("/"), token).is_mine():
        raise _taken_over(url)


def _taken_over(url: str) -> RunStopped:
    return RunStopped(
        f"{url} could not be held against other runs, which may have taken it over; run again when they are done"
    )


def find_writer_at(url: str) -> str:
    """Says who else writes at a URL now; nothing where nobody does."""
    lock = _Lock(url.rstrip("/"))
    held = lock.read()
    return str(held["who"]) if held is not None and lock.url not in _held and not lock.is_stale(held) else ""


class _Lock:
    """A lock file at a URL, with who holds it and when that was last true."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url, self.token = url, token or uuid.uuid4().hex
        self.ended = Event()
        self.lost = False
        self._filesystem, inner = open_filesystem(url)
        self._path = join_path(inner, LOCK_NAME)
        self._mine = {"token": self.token, "who": who_am_i(), "machine": machine(), "pid": os.getpid()}
        self._fresh = time.monotonic()

    def take(self) -> None:
        """Writes the lock file; raises InputError where somebody else holds it.

        It is read first: not every storage keeps the promise to create only what is not there.
        """
        taken_over = False
        _tokens.add(self.token)
        while not self.is_mine():
            if (held := self.read()) is not None:
                self._require_stale(held)
                self._remove()
                taken_over = True
            with suppress(FileExistsError):
                self._write(mode="create")
            if taken_over:  # another may have found the same stale lock, and removed this one in its place
                time.sleep(SETTLE_S)
        self._fresh = time.monotonic()

    def is_stale(self, held: dict[str, Any]) -> bool:
        """Tells whether the holder of a lock is no more."""
        is_here = held["machine"] == machine()
        is_left = held["pid"] == os.getpid() and held["token"] not in _tokens  # it could not be given back
        is_dead = is_here and (is_left or not is_running(held["pid"]))
        return is_dead or time.time() - held["at"] >= LEASE_S

    def require(self) -> None:
        """Raises RunStopped where the lock is this process's no more, or may be somebody else's by now."""
        if self.lost or time.monotonic() - self._fresh > LEASE_S:
            raise _taken_over(self.url)

    def keep_fresh(self) -> None:
        """Tells every few seconds that the lock is held, until `ended`."""
        while not self.ended.wait(BEAT_S):
            try:
                self.lost = not self.is_mine()
                if self.lost:
                    return
                self._write()
                self._fresh = time.monotonic()
            except (InputError, OSError) as error:
                logger.warning("the lock at %s could not be kept fresh: %s", self.url, first_line(error))

    def give_back(self) -> None:
        """Removes the lock file, if it is still this process's."""
        _tokens.discard(self.token)
        try:
            if self.is_mine():
                self._remove()
        except (InputError, OSError) as error:
            logger.warning("the lock at %s could not be given back: %s", self.url, first_line(error))

    def read(self) -> dict[str, Any] | None:
        """Returns what the lock file says; None where there is none. What is no lock of ours counts as a stale one."""
        try:
            data = self._ask(lambda: self._filesystem.cat_file(self._path), "read")
        except FileNotFoundError:
            return None
        try:
            held = json.loads(data)
            told = {name: str(held[name]) for name in ("token", "who", "machine")}
            return {**told, "pid": int(held["pid"]), "at": float(held["at"])}
        except (ValueError, KeyError, TypeError):
            return {"token": "", "who": "nobody", "machine": "", "pid": 0, "at": 0.0}

    def _require_stale(self, held: dict[str, Any]) -> None:
        """Raises InputError where a lock is still held."""
        if not self.is_stale(held):
            raise InputError(
                f"--out {self.url} is being written by {held['who']} (seen {max(time.time() - held['at'], 0):.0f} s "
                f"ago); wait until it is done ({LEASE_S:.0f} s if it died), or choose another --out"
            )

    def is_mine(self) -> bool:
        """Tells whether the lock file there says that this lock is held."""
        held = self.read()
        return held is not None and held["token"] == self.token

    def _remove(self) -> None:
        with suppress(FileNotFoundError):
            self._ask(lambda: self._filesystem.rm_file(self._path), "write")

    def _write(self, **how: str) -> None:
        content = json.dumps({**self._mine, "at": time.time()}).encode()
        try:
            self._ask(lambda: self._filesystem.pipe_file(self._path, content, **how), "write")
        except FileNotFoundError as error:
            raise InputError(f"cannot write {self.url}: {first_line(error)}; make the bucket first") from error
        except InputError as error:
            if how and error.__cause__ and http_status(error.__cause__) in TAKEN:
                raise FileExistsError(self._path) from error
            raise

    def _ask(self, action: Callable[[], Any], doing: str) -> Any:
        """Asks the storage, again where it is busy, but not to give the lock back: it runs out by itself."""
        attempts = 1 if self.ended.is_set() else ATTEMPTS
        answers = (FileNotFoundError, FileExistsError)
        return ask_storage(action, self.url, doing=doing, answers=answers, attempts=attempts)
