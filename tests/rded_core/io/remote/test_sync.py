"""Sync between run folders at URLs and their local copies."""

from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from rded_core.errors import InputError
from rded_core.io.remote.places import as_shown, run_at
from rded_core.io.remote.sync import Mirror
from rded_core.io.remote.transfer import Transfers

OpenAt = Callable[[str], Mirror]
FilesAt = Callable[[str], dict[str, str]]

storage = fsspec.filesystem("memory")


def write(mirror: Mirror, **files: str) -> None:
    for path, text in files.items():
        target = mirror.root / path.replace("__", "/").replace("_json", ".json")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


def files_of(mirror: Mirror) -> dict[str, str]:
    paths = (path for path in mirror.root.rglob("*") if path.is_file())
    return {path.relative_to(mirror.root).as_posix(): path.read_text() for path in paths}


def test_files_written_on_one_machine_reach_another(url: str, files_at: FilesAt, machine: OpenAt) -> None:
    first, second = machine("first"), machine("second")
    assert first.root != second.root
    write(first, work__a="1", run_json="{}")
    first.push()
    assert files_at(url) == {"work/a": "1", "run.json": "{}"}
    second.pull()
    assert files_of(second) == files_at(url)
    write(second, work__a="22", work__b="3")
    second.push()
    first.pull()
    assert files_of(first) == files_at(url) == {"work/a": "22", "work/b": "3", "run.json": "{}"}


def test_files_removed_on_one_side_are_removed_on_the_other(url: str, files_at: FilesAt, machine: OpenAt) -> None:
    first, second = machine("first"), machine("second")
    write(first, a="1", b="2")
    first.push()
    second.pull()
    (second.root / "a").unlink()
    second.push()
    assert files_at(url) == {"b": "2"}
    first.pull()
    assert files_of(first) == {"b": "2"}


def test_only_changed_files_are_transferred(machine: OpenAt, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = machine("first"), machine("second")
    write(first, a="1", b="2")
    first.push()
    second.pull()
    write(first, b="33")
    moved: list[str] = []
    for name in ("_send", "_fetch"):
        plain = getattr(Transfers, name)

        def noted(
            self: Transfers, path: str, stamp: object, name: str = name, plain: Callable[..., object] = plain
        ) -> object:
            moved.append(f"{name} {path}")
            return plain(self, path, stamp)

        monkeypatch.setattr(Transfers, name, noted)
    first.push()
    second.pull()
    first.pull()
    second.push()
    assert moved == ["_send b", "_fetch b"]


def test_only_wanted_files_are_transferred(url: str, files_at: FilesAt, machine: OpenAt) -> None:
    first, second = machine("first"), machine("second")
    write(first, a="1", b="2")
    first.push(lambda path: path == "a")
    assert files_at(url) == {"a": "1"}
    first.push()
    second.pull(lambda path: path == "b")
    assert files_of(second) == {"b": "2"}
    second.push()
    assert files_at(url) == {"a": "1", "b": "2"}, "files that were never fetched do not count as removed"


def test_a_later_write_of_another_machine_wins(url: str, files_at: FilesAt, machine: OpenAt) -> None:
    """A process that died left a change that it never sent; meanwhile others continued."""
    first, second = machine("first"), machine("second")
    write(first, a="1")
    first.push()
    second.pull()
    write(first, a="left behind")
    write(second, a="newer")
    second.push()
    first.pull()
    first.push()
    assert files_at(url) == files_of(first) == {"a": "newer"}


def test_unsent_changes_are_kept_if_no_other_machine_wrote(url: str, files_at: FilesAt, machine: OpenAt) -> None:
    first = machine("first")
    write(first, a="1")
    first.push()
    write(first, a="22", b="3")
    first = machine("first")  # another process, after the first has died
    first.pull()
    assert files_of(first) == {"a": "22", "b": "3"}
    first.push()
    assert files_at(url) == {"a": "22", "b": "3"}


def test_a_file_that_is_lost_locally_is_fetched_again(machine: OpenAt) -> None:
    first = machine("first")
    write(first, a="1")
    first.push()
    (first.root / "a").unlink()
    first.pull()
    assert files_of(first) == {"a": "1"}


def test_a_removal_at_the_url_wins_over_a_local_change(url: str, files_at: FilesAt, machine: OpenAt) -> None:
    first, second = machine("first"), machine("second")
    write(first, a="1", b="2")
    first.push()
    second.pull()
    write(first, a="changed, and never sent")
    (second.root / "a").unlink()
    second.push()
    first.pull()
    first.push()
    assert files_at(url) == files_of(first) == {"b": "2"}


def test_no_older_file_stays_here_after_images_were_forgotten(url: str, files_at: FilesAt, machine: OpenAt) -> None:
    first, second = machine("first"), machine("second")
    write(first, work__squeeze__c="shows it", work__squeeze__d="does not")
    first.push()
    second.pull()
    write(first, work__squeeze__e="shows it, and was never sent")
    write(second, forgotten_json="it", work__squeeze__c="other")
    second.push()
    first.pull(lambda path: path.endswith("/d"))
    assert files_of(first) == {"/".join(("work", "squeeze", "d")): "does not", "forgotten.json": "it"}
    first.pull()
    first.push()
    assert files_of(first) == files_at(url)


def test_files_sent_during_a_pull_do_not_count_as_removed(
    url: str, files_at: FilesAt, machine: OpenAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = machine("first")
    write(first, a="1")
    first.push()
    plain = Transfers.list_remote

    def slow(self: Transfers) -> dict[str, tuple[str, int]]:
        listing = plain(self)
        write(first, b="2")
        monkeypatch.setattr(Transfers, "list_remote", plain)
        first.push()
        return listing

    monkeypatch.setattr(Transfers, "list_remote", slow)
    first.pull()
    assert files_of(first) == files_at(url) == {"a": "1", "b": "2"}


def test_paths_that_lead_out_of_the_run_are_skipped(url: str, machine: OpenAt) -> None:
    first = machine("first")
    inner = url.removeprefix("memory:/")
    storage.pipe_file(f"{url}/a", b"1")
    storage.store[f"{inner}/../../../b"] = storage.store[f"{inner}/a"]
    try:
        first.pull()
        assert files_of(first) == {"a": "1"}
    finally:
        del storage.store[f"{inner}/../../../b"]


def test_records_follow_their_outputs_and_sums_come_last(
    url: str, files_at: FilesAt, machine: OpenAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = machine("first")
    write(first, work__squeeze__c_json="r", work__squeeze__c="o", dataset__SHA256SUMS="s", dataset__recipe_json="x")
    seen: list[set[str]] = []
    plain = Transfers._send

    def noted(self: Transfers, path: str, stamp: tuple[int, int]) -> object:
        seen.append({*files_at(url)} if storage.exists(url) else set())
        seen[-1].add(f"+{path}")
        return plain(self, path, stamp)

    monkeypatch.setattr(Transfers, "_send", noted)
    first.push()
    at = {next(path[1:] for path in step if path.startswith("+")): step for step in seen}
    assert "work/squeeze/c" in at["work/squeeze/c.json"]
    assert {"work/squeeze/c.json", "dataset/recipe.json"} <= at["dataset/SHA256SUMS"]
    seen.clear()
    write(first, dataset__recipe_json="other")
    first.push()
    assert all("dataset/SHA256SUMS" not in step for step in seen), "a dataset that is changing does not count as whole"
    assert "dataset/SHA256SUMS" in files_at(url)


def test_unfinished_files_are_not_sent(url: str, files_at: FilesAt, machine: OpenAt) -> None:
    first = machine("first")
    write(first, a="1", work__dataset__x="being made")
    (first.root / ".a.host-1.tmp").write_text("half")
    (first.root / ".lock").write_text("held")
    first.push()
    assert files_at(url) == {"a": "1"}


def test_files_of_a_block_that_fails_are_sent_and_its_error_names_the_url(
    url: str, files_at: FilesAt, machine: OpenAt
) -> None:
    first = machine("first")
    with pytest.raises(InputError, match=rf"^{url}/a is wrong$"), first.level():
        write(first, a="1")
        raise InputError(f"{first.root / 'a'} is wrong")
    assert files_at(url) == {"a": "1"}


def test_paths_of_a_copy_are_shown_as_urls(url: str, machine: OpenAt) -> None:
    root = machine("first").root
    assert as_shown(root) == url
    assert as_shown(f"made 3, {root}/tiles; and '{root}'") == f"made 3, {url}/tiles; and '{url}'"
    assert as_shown("/data/run/x") == "/data/run/x"
    assert run_at(url).root == root
    assert run_at("out").root == Path("out")


def test_an_unusable_url_is_an_input_error() -> None:
    with pytest.raises(InputError, match="is too long"):
        run_at("s3://bucket/" + "x" * 300)
    with pytest.raises(InputError, match="contains a password or token"):
        Mirror("memory://user:s3cr3t@bucket/run")


def test_the_error_of_a_block_is_raised_not_that_of_sending(machine: OpenAt, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("Access Denied")

    first = machine("first")
    monkeypatch.setattr(type(storage), "put_file", refuse)
    for error in (InputError("wrong"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught, first.level():
            write(first, a="1")
            raise error
        assert caught.value is error


def test_a_failing_storage_is_an_input_error(machine: OpenAt, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_files_that_cannot_be_removed_are_not_sent_again(machine: OpenAt, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = machine("first"), machine("second")
    write(first, a="shows it")
    first.push()
    second.pull()
    write(second, forgotten_json="it")
    (second.root / "a").unlink()
    second.push()

    def refuse(*_: object) -> None:
        raise PermissionError("not yours")

    with monkeypatch.context() as held:
        held.setattr(Path, "rename", refuse)
        with pytest.raises(InputError, match=r"^cannot remove [^\n]* been forgotten: not yours; delete"):
            first.pull()
    first.pull()
    assert files_of(first) == {"forgotten.json": "it"}
