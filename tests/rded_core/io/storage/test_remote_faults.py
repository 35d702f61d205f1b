"""Sources on a failing storage: transient faults only cost waits, lasting ones are errors, no file is lost."""

import errno
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec import AbstractFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from rded_core.errors import InputError
from rded_core.io.formats.images import RejectedImage
from rded_core.io.sources.base import Source
from rded_core.io.sources.parquet import rows
from rded_core.io.sources.reading import read_item
from rded_core.io.sources.spec import open_source
from rded_core.io.storage import retries
from rded_core.io.storage.remote_file import read_bytes
from rded_core.io.storage.retries import ATTEMPTS
from rded_core.io.storage.tree import list_tree

URL = "flaky://bucket/f.bin"
SHORT = EOFError("the script cuts this read short")


class Answered(Exception):
    """An HTTP status in a client's own error class, as in aiohttp."""

    def __init__(self, status: int) -> None:
        super().__init__(f"made up by a test\nas status {status}")
        self.status = status


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits of the retries in seconds, recorded instead of slept."""
    waited: list[float] = []
    monkeypatch.setattr(retries, "sleep", waited.append)
    return waited


class FlakyFileSystem(MemoryFileSystem):
    """fsspec's memory storage; each call of an operation first raises the next error that the script holds for it."""

    protocol = "flaky"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    script: ClassVar[dict[str, list[Exception | None]]] = {}
    calls: ClassVar[list[tuple[str, str]]] = []
    find = AbstractFileSystem.find  # by walking, as HTTP, SFTP and others do

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.removeprefix("flaky://").strip("/")

    def meet(self, operation: str, path: str) -> Exception | None:
        self.calls.append((operation, path))
        ahead = self.script.get(operation)
        return ahead.pop(0) if ahead else None

    def fail(self, operation: str, path: str) -> None:
        if error := self.meet(operation, path):
            raise error

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        self.fail("info", path)
        return super().info(path, **kwargs)

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> Any:
        self.fail("ls", path)
        return super().ls(path, detail=detail, **kwargs)

    def open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        if mode != "rb":
            return super().open(path, mode, **kwargs)
        self.fail("open", path)
        return FlakyFile(self, path, self.cat_file(path))


class FlakyFile(io.BytesIO):
    def __init__(self, filesystem: FlakyFileSystem, path: str, data: bytes) -> None:
        super().__init__(data)
        self.filesystem, self.path, self.size = filesystem, path, len(data)

    def read(self, size: int | None = -1, /) -> bytes:
        error = self.filesystem.meet("read", self.path)
        if error and error is not SHORT:
            raise error
        data = super().read(size)
        return data[: len(data) // 2] if error else data


@pytest.fixture
def flaky() -> FlakyFileSystem:
    fsspec.register_implementation("flaky", FlakyFileSystem, clobber=True)
    filesystem = fsspec.filesystem("flaky", skip_instance_cache=True)
    for container in (filesystem.store, filesystem.script, filesystem.calls):
        container.clear()
    FlakyFileSystem.pseudo_dirs[:] = [""]
    filesystem.pipe("flaky://bucket/f.bin", bytes(range(100)))
    filesystem.calls.clear()
    return filesystem


def calls_of(flaky: FlakyFileSystem, operation: str) -> int:
    return sum(called == operation for called, _ in flaky.calls)


@pytest.mark.parametrize("operation", ["open", "read"])
@pytest.mark.parametrize("failures", range(ATTEMPTS))
def test_a_transient_fault_only_costs_waits(
    flaky: FlakyFileSystem, waits: list[float], operation: str, failures: int
) -> None:
    flaky.script[operation] = [TimeoutError()] * failures
    assert read_bytes(URL, offset=10, num_bytes=5) == bytes(range(10, 15))
    assert calls_of(flaky, operation) >= failures + 1
    assert len(waits) == failures


@pytest.mark.parametrize("operation", ["open", "read"])
@pytest.mark.parametrize("error", [TimeoutError("slow"), Answered(503)], ids=repr)
def test_a_lasting_fault_is_an_input_error_not_a_missing_image(
    flaky: FlakyFileSystem, waits: list[float], operation: str, error: Exception
) -> None:
    flaky.script[operation] = [error] * 99
    with pytest.raises(InputError, match=rf"^cannot read {URL}: .*, 5 times in a row; check the connection[^\n]*$"):
        read_bytes(URL)
    assert calls_of(flaky, operation) == ATTEMPTS
    assert len(waits) == ATTEMPTS - 1


@pytest.mark.parametrize("error", [FileNotFoundError("a"), PermissionError("b"), ValueError("c")], ids=repr)
@pytest.mark.parametrize("operation", ["open", "read"])
def test_a_permanent_fault_is_not_retried(flaky: FlakyFileSystem, operation: str, error: Exception) -> None:
    flaky.script[operation] = [error] * 99
    with pytest.raises(type(error), match=str(error)):
        read_bytes(URL)
    assert calls_of(flaky, operation) == 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_in_a_clients_own_class_is_an_input_error_at_once(flaky: FlakyFileSystem, status: int) -> None:
    flaky.script["open"] = [Answered(status)] * 99
    with pytest.raises(InputError, match=r"Answered made up by a test .*check the address"):
        read_bytes(URL)
    assert calls_of(flaky, "open") == 1


@pytest.mark.parametrize("num_bytes", [-1, 40])
def test_a_short_read_is_retried(flaky: FlakyFileSystem, waits: list[float], num_bytes: int) -> None:
    flaky.script["read"] = [SHORT] * 2
    assert read_bytes(URL, num_bytes=num_bytes) == bytes(range(100))[: num_bytes if num_bytes > 0 else 100]
    assert len(waits) == 2
    flaky.script["read"] = [SHORT] * 99
    with pytest.raises(InputError, match=r"EOFError got \d+ of \d+ bytes, 5 times in a row"):
        read_bytes(URL, num_bytes=num_bytes)


def test_local_reads_are_not_retried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> None:
    tried: list[Path] = []

    def broken(path: Path, *_: object) -> None:
        tried.append(path)
        raise OSError(errno.EIO, "a bad sector")

    monkeypatch.setattr(Path, "open", broken)
    with pytest.raises(OSError, match="a bad sector"):
        read_bytes(str(tmp_path / "f"))
    assert len(tried) == 1
    assert not waits


def jpeg(number: int) -> bytes:
    return f"no picture, but bytes {number}".encode() * 20


def put_class_folders(flaky: FlakyFileSystem) -> str:
    for number in range(6):
        flaky.pipe(f"flaky://src/class{number % 3}/{number}.jpg", jpeg(number))
    return "flaky://src"


def put_tars(flaky: FlakyFileSystem) -> str:
    for number in range(6):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name, data in ((f"{number}.cls", str(number % 3).encode()), (f"{number}.jpg", jpeg(number))):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        flaky.pipe(f"flaky://src/{number}.tar", buffer.getvalue())
    flaky.pipe("flaky://src/classes.json", json.dumps([{"index": n, "folder": f"class{n}"} for n in range(3)]).encode())
    return "flaky://src/*.tar"


def put_tables(flaky: FlakyFileSystem) -> str:
    for part in range(2):
        buffer = io.BytesIO()
        numbers = range(3 * part, 3 * part + 3)
        labels = [f"class{number % 3}" for number in numbers]
        pq.write_table(pa.table({"image": [jpeg(number) for number in numbers], "label": labels}), buffer)
        flaky.pipe(f"flaky://src/{part}.parquet", buffer.getvalue())
    return "flaky://src"


PutSource = Callable[[FlakyFileSystem], str]


def read_all(source: Source) -> dict[str, list[bytes]]:
    return {
        label.folder: [read_item(item) for item in group]
        for label, group in zip(source.classes, source.items, strict=True)
    }


@pytest.mark.parametrize("put", [put_class_folders, put_tars, put_tables])
@pytest.mark.parametrize("operation", ["info", "ls", "open", "read"])
def test_sources_survive_transient_faults(
    flaky: FlakyFileSystem, waits: list[float], put: PutSource, operation: str
) -> None:
    spec = put(flaky)
    flaky.script[operation] = [TimeoutError(), Answered(503), ConnectionResetError()]
    assert read_all(open_source(spec)) == {f"class{n}": [jpeg(n), jpeg(n + 3)] for n in range(3)}
    assert len(waits) == 3


@pytest.mark.parametrize("put", [put_class_folders, put_tars, put_tables])
@pytest.mark.parametrize("operation", ["info", "ls", "open", "read"])
def test_no_lasting_fault_loses_a_file(flaky: FlakyFileSystem, put: PutSource, operation: str) -> None:
    """fsspec's own ``find``, ``glob`` and ``exists`` skip folders that fail."""
    spec = put(flaky)
    flaky.calls.clear()
    read_all(open_source(spec))
    num_calls = calls_of(flaky, operation)
    assert num_calls
    for sound in range(num_calls):
        rows._row_group_starts.cache_clear()
        rows._read_group.cache_clear()
        flaky.script[operation] = [None] * sound + [TimeoutError("late")] * 99
        with pytest.raises(InputError, match="5 times in a row"):
            read_all(open_source(spec))


def test_a_listing_that_fails_twice_is_complete(flaky: FlakyFileSystem, waits: list[float]) -> None:
    root = put_class_folders(flaky)
    whole = list_tree(root)
    flaky.script["ls"] = [None, TimeoutError(), TimeoutError()]
    assert list_tree(root) == whole
    assert len(waits) == 2


def test_a_storages_own_flat_listing_is_used(
    flaky: FlakyFileSystem, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(filesystem: FlakyFileSystem, path: str, **options: Any) -> Any:
        filesystem.fail("find", path)
        return AbstractFileSystem.find(filesystem, path, **options)

    root = put_class_folders(flaky)
    by_folders = list_tree(root)
    monkeypatch.setattr(FlakyFileSystem, "find", find)
    flaky.script["find"] = [TimeoutError(), TimeoutError()]
    assert list_tree(root) == by_folders
    assert calls_of(flaky, "find") == 3
    assert len(waits) == 2


def test_a_forbidden_folder_is_an_error(flaky: FlakyFileSystem, waits: list[float]) -> None:
    root = put_class_folders(flaky)
    flaky.script["ls"] = [None, PermissionError("not yours")]
    with pytest.raises(InputError, match=f"cannot list {root}: not yours"):
        list_tree(root)
    assert not waits


@pytest.mark.parametrize("put", [put_class_folders, put_tars])
def test_a_forbidden_path_is_an_error(flaky: FlakyFileSystem, put: PutSource) -> None:
    spec = put(flaky)
    flaky.script["info"] = [PermissionError("not yours")] * 99
    with pytest.raises(InputError, match=r"cannot access flaky://src.*: not yours"):
        open_source(spec)


@pytest.mark.parametrize("put", [put_class_folders, put_tars])
def test_a_deleted_image_is_still_reported_as_missing(
    flaky: FlakyFileSystem, waits: list[float], put: PutSource
) -> None:
    item = open_source(put(flaky)).items[0][0]
    flaky.rm(item.path)
    with pytest.raises(RejectedImage) as caught:
        read_item(item)
    assert caught.value.reason == "missing"
    assert not waits
