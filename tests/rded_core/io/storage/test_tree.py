"""One scan of a folder, local or on any fsspec storage."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rded_core.errors import InputError
from rded_core.io.storage import tree as file_tree
from rded_core.io.storage.tree import BROKEN_LINK, list_tree
from rded_core.io.storage.urls import join_path

Put = Callable[[str, bytes], str]


def _sizes(root: str) -> dict[str, list[tuple[str, int]]]:
    return {folder: [(name, size) for name, size, _ in files] for folder, files in list_tree(root).folders.items()}


def test_files_are_listed_sorted_with_their_sizes(put: Put) -> None:
    for relative, size in (("b/x.jpg", 3), ("a.txt", 0), ("b/deep/y.jpg", 10), ("10", 1), ("2", 2)):
        root = put(relative, b"z" * size)
    expected = {"": [("10", 1), ("2", 2), ("a.txt", 0)], "b": [("x.jpg", 3)], "b/deep": [("y.jpg", 10)]}
    assert _sizes(root) == expected
    assert _sizes(root + "/") == expected
    assert list(list_tree(root).paths(lambda name: name.endswith(".jpg"))) == ["b/x.jpg", "b/deep/y.jpg"]


def test_hidden_names_are_left_out(put: Put) -> None:
    for relative in (".DS_Store", "a/.x.jpg.tmp", ".git/config", "a/..b", "a/x.y"):
        root = put(relative, b"z")
    tree = list_tree(root)
    assert list(tree.paths(lambda _: True)) == ["a/x.y"]


def test_a_missing_root_is_an_error(put: Put) -> None:
    root = put("f.bin", b"x")
    with pytest.raises(InputError, match=r"no such folder|nothing found below"):
        list_tree(join_path(root, "nowhere"))


def test_a_root_that_is_a_file_is_an_error(put: Put) -> None:
    root = put("f.bin", b"x")
    with pytest.raises(InputError, match=r"f\.bin"):
        list_tree(join_path(root, "f.bin"))


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x.jpg").write_bytes(b"abc")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "real")
    assert list_tree(str(tmp_path / "root")).folders["linked"][0][:2] == ("x.jpg", 3)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_folder_without_permission_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o000)
    with pytest.raises(InputError, match=r"cannot list .*Permission denied"):
        list_tree(str(tmp_path))


def test_slow_folders_listed_by_threads_give_the_same_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(40):
        (tmp_path / f"c{number % 20:02d}" / "deep").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"c{number % 20:02d}" / "deep" / f"{number}.jpg").write_bytes(b"x" * number)
    plain = list_tree(str(tmp_path))
    monkeypatch.setattr(file_tree, "SLOW_ENTRY_S", 0.0)
    threaded = list_tree(str(tmp_path))
    assert list(threaded.folders.items()) == list(plain.folders.items())
    assert sum(map(len, plain.folders.values())) == 40


def test_circular_and_dangling_links_are_listed_as_broken(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "self.jpg").symlink_to(tmp_path / "a" / "self.jpg")
    (tmp_path / "a" / "gone.jpg").symlink_to(tmp_path / "nowhere")
    assert list_tree(str(tmp_path)).folders["a"] == [("gone.jpg", BROKEN_LINK, 0), ("self.jpg", BROKEN_LINK, 0)]


def test_folders_without_a_file_at_any_depth_are_empty(tmp_path: Path) -> None:
    for folder in (
        "train/full",
        "train/nested/deep",
        "train/empty/deep",
        "train/bare",
        "train/.hidden",
        "train/system",
    ):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "train/full/x.jpg").touch()
    (tmp_path / "train/nested/deep/x.txt").touch()
    (tmp_path / "train/system/._1.png").touch()
    assert list_tree(str(tmp_path)).empty_folders("train/") == ("bare", "empty")
    assert list_tree(str(tmp_path / "train")).empty_folders("") == ("bare", "empty")
    assert list_tree(str(tmp_path)).empty_folders("") == ()


def test_a_rewritten_file_has_a_different_stamp(put: Put) -> None:
    root = put("a/x.jpg", b"one")
    before = list_tree(root).folders["a"]
    time.sleep(0.02)
    put("a/x.jpg", b"two")
    after = list_tree(root).folders["a"]
    assert before[0][:2] == after[0][:2] == ("x.jpg", 3)
    assert before[0][2] != after[0][2]
    assert list_tree(root).folders["a"] == after, "listing changes nothing"


def test_folders_of_systems_and_tools_are_left_out_and_named(put: Put) -> None:
    left = ("__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information", ".ipynb_checkpoints")
    for folder in (*left, "a/@eaDir", "a/.thumbnails", "a"):
        root = put(f"{folder}/x.jpg", b"z")
    tree = list_tree(root)
    assert list(tree.paths(lambda _: True)) == ["a/x.jpg"]
    assert tree.hidden == {"": sorted(left), "a": [".thumbnails", "@eaDir"]}


@pytest.mark.parametrize("names", ["ab", "abc"])
def test_links_that_lead_to_each_other_are_followed_once(tmp_path: Path, names: str) -> None:
    for name, following in zip(names, names[1:] + names[0], strict=True):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.jpg").write_bytes(b"x")
        (tmp_path / name / "l").symlink_to(f"../{following}")
    tree = list_tree(str(tmp_path))
    assert sum(map(len, tree.folders.values())) == len(names) ** 2
    assert len(tree.hidden) == len(names)


def test_a_link_to_a_folder_that_holds_a_link_of_the_path_is_a_loop(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "real" / "x.jpg").write_bytes(b"x")
    (tmp_path / "other").mkdir()
    (tmp_path / "root" / "l").symlink_to("../real")
    (tmp_path / "real" / "deep" / "m").symlink_to("../../other")
    (tmp_path / "other" / "back").symlink_to("../real")
    tree = list_tree(str(tmp_path / "root"))
    assert set(tree.folders) == {"", "l", "l/deep", "l/deep/m"}
    assert tree.hidden == {"l/deep/m": ["back"]}


def test_two_links_to_one_folder_are_both_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x.jpg").write_bytes(b"x")
    (tmp_path / "root" / "a").mkdir(parents=True)
    (tmp_path / "root" / "a" / "l").symlink_to("../../real")
    (tmp_path / "root" / "b").symlink_to("../real")
    assert {*list_tree(str(tmp_path / "root")).folders} == {"", "a", "a/l", "b"}
