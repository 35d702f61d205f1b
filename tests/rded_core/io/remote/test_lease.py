"""One writer at a time at a URL."""

import json
import time
from collections.abc import Callable
from typing import Any

import fsspec
import pytest

from rded_core.errors import InputError, RunStopped
from rded_core.io.remote import lease as remote_locks
from rded_core.io.remote.lease import LEASE_S, find_writer_at, held_token, only_writer_at, require_held
from rded_core.io.remote.sync import Mirror
from rded_core.io.storage import retries
from rded_core.io.storage.host import HOST

NO_PROCESS = 2**22 + 1

LOST = r"^lost the lock at memory://[^\n]*, which another run may have taken over; run again when"

Hold = Callable[..., None]

storage = fsspec.filesystem("memory")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_locks, "BEAT_S", 0.02)
    monkeypatch.setattr(remote_locks, "SETTLE_S", 0.02)


def test_a_second_writer_is_refused_and_the_first_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with only_writer_at(url):
        with only_writer_at(f"{url}/"):
            pass  # one flow runs another
        assert find_writer_at(url) == ""
        with monkeypatch.context() as other_process:
            other_process.setattr(remote_locks, "_held", {})
            assert find_writer_at(url).startswith("process ")
            with pytest.raises(InputError, match=r"written by process \d+ on .*last seen 0 s ago.*or choose another"):
                only_writer_at(url).__enter__()
    assert not storage.exists(f"{url}/.lock")
    with only_writer_at(url):
        pass


def test_a_lock_whose_write_was_confirmed_too_late_is_held(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = type(storage).pipe_file

    def late(self: object, path: str, value: bytes, **how: str) -> None:
        plain(self, path, value, **how)
        if how.get("mode") == "create":  # its answer was lost, and the client asked again
            raise FileExistsError

    monkeypatch.setattr(type(storage), "pipe_file", late)
    with only_writer_at(url):
        pass


def test_the_same_process_id_and_host_name_may_be_another_machine(url: str, hold_elsewhere: Hold) -> None:
    hold_elsewhere(url, machine=HOST, pid=NO_PROCESS)
    with pytest.raises(InputError, match="is being written by"):
        only_writer_at(url).__enter__()


def test_a_process_that_lost_its_lock_is_stopped(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    require_held(url)
    with only_writer_at(url):
        require_held(url)
        with monkeypatch.context() as cut_off:
            cut_off.setattr(remote_locks, "LEASE_S", -1.0)  # as if the storage had been unreachable for that long
            with pytest.raises(RunStopped, match=LOST):
                require_held(url)


def test_the_lock_is_released_by_a_block_that_fails(url: str) -> None:
    with pytest.raises(KeyError), only_writer_at(url):
        raise KeyError
    assert not storage.exists(f"{url}/.lock")


def test_the_lock_is_renewed(url: str) -> None:
    with only_writer_at(url):
        first = json.loads(storage.cat_file(f"{url}/.lock"))["at"]
        deadline = time.monotonic() + 10
        while json.loads(storage.cat_file(f"{url}/.lock"))["at"] == first:
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.mark.parametrize(
    "dead",
    [{"at": time.time() - LEASE_S - 60}, {"machine": remote_locks.machine(), "pid": NO_PROCESS}],
    ids=["silent", "ended here"],
)
def test_the_lock_of_a_dead_writer_is_taken_over(url: str, hold_elsewhere: Hold, dead: dict[str, Any]) -> None:
    hold_elsewhere(url, **dead)
    with only_writer_at(url):
        assert json.loads(storage.cat_file(f"{url}/.lock"))["token"] != "t"


@pytest.mark.parametrize("data", [b"\xff{", b"[]", b'{"token": 1, "who": 2, "machine": 3, "pid": 4, "at": "noon"}'])
def test_a_file_that_is_not_a_lock_is_ignored(url: str, data: bytes) -> None:
    storage.pipe_file(f"{url}/.lock", data)
    with only_writer_at(url):
        pass


def test_a_writer_on_another_machine_keeps_its_lock(url: str, hold_elsewhere: Hold) -> None:
    hold_elsewhere(url, at=time.time() - 30)
    with pytest.raises(InputError, match=r"written by process 7 on elsewhere \(last seen 3\d s ago\)"):
        only_writer_at(url).__enter__()
    assert json.loads(storage.cat_file(f"{url}/.lock"))["token"] == "t"


def test_a_writer_whose_lock_was_taken_over_is_stopped(url: str, hold_elsewhere: Hold) -> None:
    with pytest.raises(RunStopped, match=LOST), only_writer_at(url):
        hold_elsewhere(url)
        time.sleep(0.5)
    assert json.loads(storage.cat_file(f"{url}/.lock"))["token"] == "t", "the other's lock stays"


def test_a_forbidden_url_is_an_input_error(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(storage), "pipe_file", refuse)
    with pytest.raises(InputError, match=r"^cannot write memory://[^\n]*: Access Denied; check the address"):
        only_writer_at(url).__enter__()


def test_releasing_a_lock_does_not_wait_for_an_unreachable_storage(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionRefusedError("connection refused")

    monkeypatch.setattr(remote_locks, "BEAT_S", 60)
    monkeypatch.setattr(retries, "sleep", lambda _: pytest.fail("waited"))
    with monkeypatch.context() as gone:
        with only_writer_at(url):
            gone.setattr(type(storage), "cat_file", refuse)
        assert "could not release the lock at" in caplog.text


def test_a_lock_that_could_not_be_released_does_not_block_its_own_process(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionRefusedError("connection refused")

    with monkeypatch.context() as gone:
        with only_writer_at(url):
            gone.setattr(type(storage), "rm_file", refuse)
        assert storage.exists(f"{url}/.lock")
    with only_writer_at(url):
        pass
    assert not storage.exists(f"{url}/.lock")


@pytest.mark.parametrize("status", [409, 412])
def test_a_storages_own_status_for_a_taken_lock_is_understood(
    url: str, hold_elsewhere: Hold, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    plain = type(storage).pipe_file

    def refuse(self: object, path: str, value: bytes, **how: str) -> None:
        if not how:
            plain(self, path, value)
            return
        hold_elsewhere(url)
        error = OSError("taken")
        error.status = status  # pyright: ignore[reportAttributeAccessIssue]
        raise error

    monkeypatch.setattr(type(storage), "pipe_file", refuse)
    with pytest.raises(InputError, match="is being written by process 7 on elsewhere"):
        only_writer_at(url).__enter__()


def test_a_worker_of_a_run_that_lost_its_lock_sends_nothing(
    url: str, files_at: Callable[[str], dict[str, str]], machine: Callable[[str], Mirror],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The run's own process holds the lock; a worker elsewhere recognises it by its token."""
    machine("worker")
    lock = f"{url}/.lock"
    monkeypatch.setattr(remote_locks, "BEAT_S", 60)
    with only_writer_at(url), monkeypatch.context() as elsewhere:
        worker = Mirror(url, token=held_token(url))
        elsewhere.setattr(remote_locks, "_held", {})
        with worker.level():
            (worker.root / "a").write_text("1")
        assert files_at(url)["a"] == "1"
        mine = storage.cat_file(lock)
        storage.pipe_file(lock, mine.replace(b'"token": "', b'"token": "x'))
        for is_there in (True, False):
            if not is_there:
                storage.rm(lock)
            for act in (worker.push, worker.level().__enter__):
                (worker.root / "a").write_text("22")
                with pytest.raises(RunStopped, match=LOST):
                    act()
        assert files_at(url) == {"a": "1"}
