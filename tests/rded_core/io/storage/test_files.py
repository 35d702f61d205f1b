"""Atomic writes, swapped folders, and digests."""

import hashlib
import os
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rded_core.errors import InputError
from rded_core.io.storage import swap
from rded_core.io.storage.atomic import is_temporary, remove_abandoned, remove_temporaries, write_atomically, write_text
from rded_core.io.storage.files import clear_folder, file_digest, link_or_copy, quoted_name, shown_name
from rded_core.io.storage.host import HOST, host_name
from rded_core.io.storage.swap import restore_swapped, swap_folder

CRASH = """
import os, sys
from pathlib import Path
from rded_core.io.storage.atomic import write_atomically

def write_and_die(temporary):
    temporary.write_text("half")
    os._exit(9)

write_atomically(Path(sys.argv[1]), write_and_die)
"""


def tree(root: Path) -> dict[str, str]:
    return {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_writing_creates_the_folder_and_leaves_one_file(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "t.txt", "grün\n")
    assert (tmp_path / "a" / "b" / "t.txt").read_bytes() == "grün\n".encode()
    write_text(tmp_path / "a" / "b" / "t.txt", "new")
    assert tree(tmp_path) == {"a/b/t.txt": "new"}


def test_the_writer_sees_a_temporary_name_in_the_same_folder(tmp_path: Path) -> None:
    seen: list[Path] = []

    def write(temporary: Path) -> None:
        seen.append(temporary)
        assert not (tmp_path / "t.txt").exists()
        temporary.write_text("x")

    write_atomically(tmp_path / "t.txt", write)
    assert seen[0].parent == tmp_path
    assert seen[0].name.startswith("."), "hidden, so that no source or glob takes it for a finished file"


@pytest.mark.parametrize("old", [None, "old"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_writer_that_raises_leaves_nothing_half_written(
    tmp_path: Path, old: str | None, error: type[BaseException]
) -> None:
    if old:
        (tmp_path / "t.txt").write_text(old)

    def write(temporary: Path) -> None:
        temporary.write_text("half")
        raise error("in the middle")

    with pytest.raises(error, match="in the middle"):
        write_atomically(tmp_path / "t.txt", write)
    assert tree(tmp_path) == ({"t.txt": old} if old else {})


def test_a_full_disk_is_an_input_error(tmp_path: Path) -> None:
    def write(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError(28, os.strerror(28))

    with pytest.raises(InputError, match=r"cannot write .*t\.txt: No space left on device"):
        write_atomically(tmp_path / "t.txt", write)
    assert tree(tmp_path) == {}


def test_a_folder_that_cannot_be_written_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for place in ("file/t.txt", "file/deeper/t.txt"):
        with pytest.raises(InputError, match="cannot write"):
            write_text(tmp_path / place, "x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(InputError, match=r"cannot write .*Permission denied"):
        write_text(tmp_path / "locked" / "t.txt", "x")


def test_a_crash_between_write_and_rename_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("old")
    died = subprocess.run([sys.executable, "-c", CRASH, str(path)], check=False, cwd=Path(__file__).parents[4])
    assert died.returncode == 9
    assert path.read_text() == "old"
    leftovers = [entry.name for entry in tmp_path.iterdir() if entry != path]
    assert len(leftovers) == 1
    assert leftovers[0].startswith(".")
    write_text(path, "new")
    assert path.read_text() == "new"


def test_digests_are_sha256_of_the_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "x").write_bytes(data)
    assert file_digest(tmp_path / "x") == hashlib.sha256(data).hexdigest()


def test_linked_files_hold_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("x")
    link_or_copy(tmp_path / "a", tmp_path / "deeper" / "linked")

    def no_links(self: Path, target: Path) -> None:
        raise OSError(18, f"no links from {self} to {target}")

    monkeypatch.setattr(Path, "hardlink_to", no_links)
    link_or_copy(tmp_path / "a", tmp_path / "copied")
    assert tree(tmp_path) == {"a": "x", "deeper/linked": "x", "copied": "x"}


def test_a_cleared_folder_exists_and_is_empty(tmp_path: Path) -> None:
    write_text(tmp_path / "f" / "deep" / "x", "1")
    clear_folder(tmp_path / "f")
    clear_folder(tmp_path / "g" / "h")
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == ["f", "g", "g/h"]


def no_exchange(first: Path, second: Path) -> bool:
    """Stands in for a file system that cannot exchange folders."""
    del first, second
    return False


@pytest.mark.parametrize("can_exchange", [True, False])
@pytest.mark.parametrize("before", [{}, {"old.txt": "old", "both.txt": "old"}])
def test_swapping_puts_the_new_folder_in_place(
    tmp_path: Path, before: dict[str, str], can_exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_exchange:
        monkeypatch.setattr(swap, "_exchange", no_exchange)
    for name, text in before.items():
        write_text(tmp_path / "place" / name, text)
    write_text(tmp_path / "work" / "new" / "both.txt", "new")
    write_text(tmp_path / "work" / "new.old" / "left.txt", "of a crash")
    swap_folder(tmp_path / "work" / "new", tmp_path / "place")
    assert tree(tmp_path) == {"place/both.txt": "new"}
    assert list((tmp_path / "work").iterdir()) == []


def test_a_swap_whose_new_folder_is_missing_loses_nothing(tmp_path: Path) -> None:
    write_text(tmp_path / "place" / "x.txt", "old")
    with pytest.raises(OSError, match="new"):
        swap_folder(tmp_path / "new", tmp_path / "place")
    assert "old" in tree(tmp_path).values()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux exchanges folders atomically")
def test_a_reader_always_finds_a_folder(tmp_path: Path) -> None:
    write_text(tmp_path / "place" / "x.txt", "0")
    misses: list[int] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            if not (tmp_path / "place").is_dir():
                misses.append(1)

    reader = threading.Thread(target=look)
    reader.start()
    for number in range(200):
        write_text(tmp_path / "new" / "x.txt", str(number))
        swap_folder(tmp_path / "new", tmp_path / "place")
    done.set()
    reader.join()
    assert not misses
    assert tree(tmp_path) == {"place/x.txt": "199"}


def test_a_crash_between_two_renames_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swap, "_exchange", no_exchange)
    write_text(tmp_path / "place" / "x.txt", "old")
    with pytest.raises(OSError, match="new"):
        swap_folder(tmp_path / "new", tmp_path / "place")
    assert not (tmp_path / "place").exists()
    restore_swapped(tmp_path / "new", tmp_path / "place")
    restore_swapped(tmp_path / "new", tmp_path / "place")
    assert tree(tmp_path) == {"place/x.txt": "old"}


def _write(path: Path, *, seconds_ago: float = 0.0) -> Path:
    path.write_text("half")
    then = time.time() - seconds_ago
    os.utime(path, (then, then))
    return path


@pytest.mark.parametrize("host", [f"{HOST}-", ""], ids=["named", "of an older version"])
def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path, host: str) -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as ended:
        pass
    abandoned = _write(tmp_path / f".table.parquet.{host}{ended.pid}.tmp")
    other = _write(tmp_path / f".other.parquet.{host}{ended.pid}.tmp")
    running = _write(tmp_path / f".table.parquet.{host}{os.getppid()}.tmp", seconds_ago=9999)
    assert all(is_temporary(path) for path in (abandoned, other, running))
    write_text(tmp_path / "table.parquet", "whole")
    assert not abandoned.exists()
    assert other.exists(), "of another file"
    assert running.exists(), "its process is still writing"


def test_another_machines_temporary_files_are_kept_until_they_are_old(tmp_path: Path) -> None:
    """Its process IDs mean nothing here: neither that a process has ended, nor that one runs."""
    with subprocess.Popen([sys.executable, "-c", "pass"]) as ended:
        pass
    fresh = _write(tmp_path / f".table.parquet.elsewhere-{ended.pid}.tmp", seconds_ago=1800)
    old = _write(tmp_path / f".table.parquet.elsewhere-{os.getppid()}.tmp", seconds_ago=3700)
    assert is_temporary(fresh) and is_temporary(old)
    remove_abandoned(tmp_path)
    assert (fresh.exists(), old.exists()) == (True, False)


def test_a_temporary_name_holds_machine_and_process(tmp_path: Path) -> None:
    seen: list[Path] = []
    write_atomically(tmp_path / "a.b", lambda temporary: (seen.append(temporary), temporary.touch()))
    assert seen[0].name == f".a.b.{HOST}-{os.getpid()}.tmp"
    assert is_temporary(seen[0])


def test_similar_machine_names_give_different_host_names() -> None:
    nodes = ["gpu-1.east", "gpu-1.west", "gpu1", "x" * 40, "x" * 41, "", "-"]
    names = [host_name(node) for node in nodes]
    assert len(set(names)) == len(nodes)
    assert all(name.isalnum() and len(name) <= 24 for name in names)
    assert names[0].startswith("gpu1")
    assert host_name(platform.node()) == HOST


def test_remove_temporaries_removes_files_of_any_machine_and_process(tmp_path: Path) -> None:
    for name in (f".a.tar.{os.getppid()}.tmp", ".a.tar.elsewhere-1.tmp", f".a.tar.{HOST}-{os.getppid()}.tmp"):
        _write(tmp_path / name)
    _write(tmp_path / "a.tar")
    remove_temporaries(tmp_path)
    assert tree(tmp_path) == {"a.tar": "half"}


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        (b"cat", "'cat'"),
        (b"caf\xe9", r"'caf\xe9'"),
        ("café".encode(), "'café'"),
        (rb"a\b", r"'a\b'"),
        (b"two\nlines", r"'two\nlines'"),
        (b"nul\0 tab\t esc\x1b[0m", r"'nul\x00 tab\t esc\x1b[0m'"),
        ("two\u2028lines".encode(), r"'two\u2028lines'"),
        (b"it's", '"it\'s"'),
    ],
)
def test_a_name_in_quotes_is_one_line_with_single_backslashes(name: bytes, quoted: str) -> None:
    assert quoted_name(os.fsdecode(name)) == quoted
    assert shown_name(os.fsdecode(name)) == quoted[1:-1]
