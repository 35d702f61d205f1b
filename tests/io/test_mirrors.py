"""Run folders at URLs and this machine's copies of them."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest

from rded_core.errors import InputError
from rded_core.io.mirrors import Mirror, as_shown, mirror_root, run_at
from rded_core.io.work_copies import local_folder

OpenAt = Callable[[str], Mirror]

storage = fsspec.filesystem("memory")


@pytest.fixture
def url() -> Iterator[str]:
    """The URL of a run folder that is not there yet."""
    url = f"memory://rded-{uuid4().hex}/run"
    yield url
    if storage.exists(url):
        storage.rm(url, recursive=True)


@pytest.fixture
def machine(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenAt:
    """Opens the copy of a machine, which is named."""

    def open_at(name: str) -> Mirror:
        monkeypatch.setenv("RDED_CACHE", str(tmp_path / name))
        return Mirror(url)

    return open_at


def write(mirror: Mirror, **files: str) -> None:
    for path, text in files.items():
        target = mirror.root / path.replace("__", "/").replace("_json", ".json")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


def files_of(mirror: Mirror) -> dict[str, str]:
    found = (path for path in mirror.root.rglob("*") if path.is_file())
    return {path.relative_to(mirror.root).as_posix(): path.read_text() for path in found}


def remote(url: str) -> dict[str, str]:
    inner = url.removeprefix("memory:/")
    return {path.removeprefix(f"{inner}/"): storage.cat_file(path).decode() for path in storage.find(inner)}


def test_what_one_machine_writes_another_finds(url: str, machine: OpenAt) -> None:
    first, second = machine("first"), machine("second")
    assert first.root != second.root
    write(first, work__a="1", run_json="{}")
    first.push()
    assert remote(url) == {"work/a": "1", "run.json": "{}"}
    second.pull()
    assert files_of(second) == remote(url)
    write(second, work__a="22", work__b="3")
    second.push()
    first.pull()
    assert files_of(first) == remote(url) == {"work/a": "22", "work/b": "3", "run.json": "{}"}


def test_what_is_removed_on_one_side_is_removed_on_the_other(url: str, machine: OpenAt) -> None:
    first, second = machine("first"), machine("second")
    write(first, a="1", b="2")
    first.push()
    second.pull()
    (second.root / "a").unlink()
    second.push()
    assert remote(url) == {"b": "2"}
    first.pull()
    assert files_of(first) == {"b": "2"}


def test_only_what_has_changed_travels(machine: OpenAt, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = machine("first"), machine("second")
    write(first, a="1", b="2")
    first.push()
    second.pull()
    write(first, b="33")
    moved: list[str] = []
    for name in ("_send", "_fetch"):
        plain = getattr(Mirror, name)

        def noted(self: Mirror, path: str, stamp: object, name: str = name, plain: Callable[..., None] = plain) -> None:
            moved.append(f"{name} {path}")
            plain(self, path, stamp)

        monkeypatch.setattr(Mirror, name, noted)
    first.push()
    second.pull()
    first.pull()
    second.push()
    assert moved == ["_send b", "_fetch b"]


def test_only_what_is_wanted_travels(url: str, machine: OpenAt) -> None:
    first, second = machine("first"), machine("second")
    write(first, a="1", b="2")
    first.push(lambda path: path == "a")
    assert remote(url) == {"a": "1"}
    first.push()
    second.pull(lambda path: path == "b")
    assert files_of(second) == {"b": "2"}
    second.push()
    assert remote(url) == {"a": "1", "b": "2"}, "what was never fetched is not taken for removed"


def test_what_another_machine_has_written_since_wins(url: str, machine: OpenAt) -> None:
    """A process that died left a change behind which it never sent; meanwhile others went on."""
    first, second = machine("first"), machine("second")
    write(first, a="1")
    first.push()
    second.pull()
    write(first, a="left behind")
    write(second, a="newer")
    second.push()
    first.pull()
    first.push()
    assert remote(url) == files_of(first) == {"a": "newer"}


def test_what_was_written_and_not_sent_is_kept_where_nobody_else_wrote(url: str, machine: OpenAt) -> None:
    first = machine("first")
    write(first, a="1")
    first.push()
    write(first, a="22", b="3")
    first = machine("first")  # another process, after the first has died
    first.pull()
    assert files_of(first) == {"a": "22", "b": "3"}
    first.push()
    assert remote(url) == {"a": "22", "b": "3"}


def test_a_file_that_is_lost_here_comes_again(machine: OpenAt) -> None:
    first = machine("first")
    write(first, a="1")
    first.push()
    (first.root / "a").unlink()
    first.pull()
    assert files_of(first) == {"a": "1"}


def test_a_fresh_look_fetches_all(url: str, machine: OpenAt) -> None:
    first = machine("first")
    write(first, a="1")
    first.push()
    write(first, a="2", b="never sent")
    first.pull(fresh=True)
    assert files_of(first)["a"] == "1"
    assert remote(url) == {"a": "1"}


def test_records_follow_their_outputs_and_sums_come_last(
    url: str, machine: OpenAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = machine("first")
    write(first, work__squeeze__c_json="r", work__squeeze__c="o", dataset__SHA256SUMS="s", dataset__recipe_json="x")
    seen: list[set[str]] = []
    plain = Mirror._send

    def noted(self: Mirror, path: str, stamp: tuple[int, int]) -> None:
        seen.append({*remote(url)} if storage.exists(url) else set())
        seen[-1].add(f"+{path}")
        plain(self, path, stamp)

    monkeypatch.setattr(Mirror, "_send", noted)
    first.push()
    at = {next(path[1:] for path in step if path.startswith("+")): step for step in seen}
    assert "work/squeeze/c" in at["work/squeeze/c.json"]
    assert {"work/squeeze/c.json", "dataset/recipe.json"} <= at["dataset/SHA256SUMS"]
    seen.clear()
    write(first, dataset__recipe_json="other")
    first.push()
    assert all("dataset/SHA256SUMS" not in step for step in seen), "while a dataset changes, nobody takes it for whole"
    assert "dataset/SHA256SUMS" in remote(url)


def test_what_is_half_done_stays_here(url: str, machine: OpenAt) -> None:
    first = machine("first")
    write(first, a="1", work__dataset__x="being made")
    (first.root / ".a.host-1.tmp").write_text("half")
    (first.root / ".lock").write_text("held")
    first.push()
    assert remote(url) == {"a": "1"}


def test_a_block_that_fails_has_its_files_sent_and_its_errors_name_the_url(url: str, machine: OpenAt) -> None:
    first = machine("first")
    with pytest.raises(InputError, match=rf"^{url}/a is wrong$"), first.level():
        write(first, a="1")
        raise InputError(f"{first.root / 'a'} is wrong")
    assert remote(url) == {"a": "1"}


def test_paths_are_shown_as_their_user_knows_them(url: str, machine: OpenAt) -> None:
    root = machine("first").root
    assert as_shown(root) == url
    assert as_shown(f"made 3, {root}/work/candidates; and '{root}'") == f"made 3, {url}/work/candidates; and '{url}'"
    assert as_shown("/data/run/x") == "/data/run/x"
    assert run_at(url).root == root
    assert run_at("out").root == Path("out")


def test_a_url_that_cannot_name_a_folder_is_told() -> None:
    with pytest.raises(InputError, match="is too long"):
        mirror_root("s3://bucket/" + "x" * 300)


def test_a_storage_that_fails_is_told(machine: OpenAt, monkeypatch: pytest.MonkeyPatch) -> None:
    first = machine("first")
    write(first, a="1")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(storage), "put_file", refuse)
    with pytest.raises(InputError, match=r"^cannot write memory://[^\n]*: Access Denied; check the address and your"):
        first.push()
    monkeypatch.setattr(type(storage), "find", refuse)
    with pytest.raises(InputError, match=r"^cannot list memory://[^\n]*: Access Denied; check the address and your"):
        first.pull()


def test_a_local_folder_is_itself(tmp_path: Path) -> None:
    with local_folder(str(tmp_path), changes=True) as folder:
        assert folder == str(tmp_path)


def test_nothing_at_a_url_is_told(url: str, machine: OpenAt) -> None:
    machine("first")
    with pytest.raises(InputError, match=r"^nothing found at memory://[^\n]*; give the URL of a run folder"):
        local_folder(url).__enter__()


def test_changes_are_sent_where_they_are_meant(url: str, machine: OpenAt) -> None:
    first = machine("first")
    write(first, a="1")
    first.push()
    with local_folder(url) as folder:
        Path(folder, "b").write_text("2")
    assert remote(url) == {"a": "1"}
    started = time.monotonic()
    with local_folder(url, changes=True):
        assert ".lock" in remote(url)
    assert remote(url) == {"a": "1", "b": "2"}
    assert time.monotonic() - started < 10
