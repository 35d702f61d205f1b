"""Run folders and datasets at URLs, handed to commands as local folders."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import fsspec
import pytest

from rded_core.errors import InputError
from rded_core.io.remote.places import as_shown, copies
from rded_core.io.remote.sync import Mirror
from rded_core.io.remote.working_copy import folder_to_read, run_as_asked, run_to_change, send_now
from rded_core.io.storage import retries

OpenAt = Callable[[str], Mirror]
FilesAt = Callable[[str], dict[str, str]]
OpenFolder = Callable[[str], AbstractContextManager[str]]

storage = fsspec.filesystem("memory")


def test_a_local_folder_is_itself(tmp_path: Path) -> None:
    for open_folder in (folder_to_read, run_to_change):
        with open_folder(str(tmp_path)) as folder:
            assert folder == str(tmp_path)


def test_a_url_without_a_run_is_refused_before_anything_is_fetched_or_written(
    url: str, files_at: FilesAt, machine: OpenAt
) -> None:
    first = machine("first")
    with pytest.raises(InputError, match=r"^nothing found at memory://[^\n]*; pass the URL of a run folder"):
        folder_to_read(url).__enter__()
    storage.pipe_file(f"{url}/photo.jpg", b"1")
    with pytest.raises(InputError, match=r"^no run folder at memory://[^\n]*; pass the URL that rded distill had"):
        run_to_change(url).__enter__()
    with pytest.raises(InputError, match=r"is not empty and holds no rded run \(photo.jpg is there\)"):
        run_to_change(url, may_be_new=True).__enter__()
    assert files_at(url) == {"photo.jpg": "1"}
    assert not first.root.exists()


@pytest.mark.parametrize("open_folder", [folder_to_read, run_to_change])
def test_a_storage_that_never_answers_is_an_early_error(
    url: str, open_folder: OpenFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(retries, "sleep", waits.append)

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionRefusedError("connection refused")

    monkeypatch.setattr(type(storage), "info", refuse)
    with pytest.raises(InputError, match=r"ConnectionRefusedError connection refused, 2 times in a row"):
        open_folder(url).__enter__()
    assert sum(waits) < 4


def test_readers_use_a_private_copy_and_remove_it(
    url: str, machine: OpenAt, hold_elsewhere: Callable[[str], None]
) -> None:
    first = machine("first")
    first.root.mkdir(parents=True)
    (first.root / "a").write_text("1")
    first.push()
    (first.root / "a").write_text("being remade")
    with folder_to_read(url) as folder:
        assert Path(folder, "a").read_text() == "1"
        assert as_shown(f"{folder}/a") == f"{url}/a"
    assert not Path(folder).exists()
    assert (first.root / "a").read_text() == "being remade"
    hold_elsewhere(url)
    with pytest.raises(InputError, match="is being written by process 7 on elsewhere; wait until it is done"):
        folder_to_read(url).__enter__()


def test_changes_are_sent_after_a_block_or_at_once(url: str, files_at: FilesAt, machine: OpenAt) -> None:
    machine("first")
    storage.pipe_file(f"{url}/run.json", b"{}")
    with run_to_change(url) as folder:
        assert ".lock" in files_at(url)
        Path(folder, "b").write_text("2")
        send_now(Path(folder, "work"))
        assert files_at(url)["b"] == "2"
        Path(folder, "c").write_text("3")
    assert files_at(url) == {"run.json": "{}", "b": "2", "c": "3"}
    send_now(Path(folder))


def test_a_run_that_changes_during_the_download_is_not_read(
    url: str, machine: OpenAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine("first")
    storage.pipe_file(f"{url}/run.json", b"{}")
    plain = Mirror.pull

    def slow(self: Mirror) -> None:
        plain(self)
        storage.pipe_file(f"{url}/b", b"2")

    monkeypatch.setattr(Mirror, "pull", slow)
    with pytest.raises(InputError, match="changed during the download; run the same command again"):
        folder_to_read(url).__enter__()


def test_a_dataset_is_not_read_while_its_run_is_written(
    url: str, machine: OpenAt, hold_elsewhere: Callable[[str], None]
) -> None:
    machine("first")
    storage.pipe_file(f"{url}/run.json", b"{}")
    storage.pipe_file(f"{url}/dataset/SHA256SUMS", b"")
    hold_elsewhere(url)
    with pytest.raises(InputError, match="is being written by process 7 on elsewhere; wait until it is done"):
        folder_to_read(f"{url}/dataset").__enter__()
    with run_as_asked(url) as folder:
        assert [path.name for path in Path(folder).iterdir()] == ["run.json"]
    storage.rm(f"{url}/.lock")
    with run_to_change(f"{url}/dataset") as folder:
        assert (Path(folder) / "run.json").read_text() == "{}", "the run that the dataset belongs to"


def test_leftovers_of_a_killed_reader_are_removed_by_the_next(url: str, machine: OpenAt) -> None:
    machine("first")
    storage.pipe_file(f"{url}/run.json", b"{}")
    dead, alive = (copies() / f"read-{pid}-x" for pid in (2**22 + 1, os.getpid()))
    for folder in (dead, alive):
        folder.mkdir(parents=True)
    with folder_to_read(url):
        assert alive.is_dir()
        assert not dead.exists()
