"""What a folder source leaves out: counted by reason, and no class vanishes or shrinks without a word."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from rded_core.errors import InputError
from rded_core.io.formats.images import decode_image, read_header
from rded_core.io.sources.base import Source, describe_passed_over
from rded_core.io.sources.reading import read_item
from rded_core.io.sources.spec import open_source


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Returns three class folders with eight images each."""
    for name in ("ant", "bee", "cat"):
        for number in range(8):
            path = tmp_path / "photos" / name / f"{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (6, 5), (20 * number, 99, 7)).save(path)
    return tmp_path / "photos"


def reasons(source: Source) -> dict[tuple[str, str], int]:
    return {(entry.reason, entry.folder): entry.num_files for entry in source.passed_over}


def folders(source: Source) -> list[str]:
    return [label.folder for label in source.classes]


@pytest.mark.parametrize("ending", [".heic", "", ".cr2", ".JPG_1", ".img.zip", ".photo"])
def test_a_class_of_unknown_endings_does_not_vanish(photos: Path, ending: str) -> None:
    for path in (photos / "cat").iterdir():
        path.rename(path.with_suffix(ending))
    message = r"8 of 8 files of class 'cat' are left out \(.*: 8; the first: cat/000.*\), so the class would vanish; .*"
    with pytest.raises(InputError, match=message):
        open_source(str(photos))
    assert folders(open_source(str(photos), classes=("ant", "bee"))) == ["ant", "bee"]


@pytest.mark.parametrize("name", ["cat.zip", "cat.tar.gz", "dog.7z"])
def test_a_class_that_is_still_packed_does_not_vanish(photos: Path, name: str) -> None:
    for path in (photos / "cat").iterdir():
        path.unlink()
    (photos / "cat").rmdir()
    (photos / name).write_bytes(b"packed")
    with pytest.raises(InputError, match=f"archives that are still packed: 1; the first: {name}.*would vanish; unpack"):
        open_source(str(photos))


@pytest.mark.parametrize("name", ["cat.zip", "photos.zip", "archive.zip", "train.tar.gz"])
def test_the_archive_that_folders_were_unpacked_from_is_harmless(photos: Path, name: str) -> None:
    (photos / name).write_bytes(b"packed")
    assert reasons(open_source(str(photos), max_rejected=0.1)) == {("archives that are still packed", ""): 1}


@pytest.mark.parametrize("rename", [lambda n: f"{n}.heic", lambda n: n, lambda n: f".{n}.png"])
def test_a_class_that_shrinks_too_far_is_an_error(photos: Path, rename: Callable[[str], str]) -> None:
    for path in sorted((photos / "cat").iterdir())[:4]:
        path.rename(path.with_name(rename(path.stem)))
    with pytest.raises(InputError, match=r"4 of 8 files of class 'cat' .* more than --max-rejected 0.1; .*"):
        open_source(str(photos), max_rejected=0.1)
    with pytest.raises(InputError, match=r"more than --max-rejected 0\.005; .*"):
        open_source(str(photos), max_rejected=0.005)
    source = open_source(str(photos), max_rejected=0.6)
    assert [entry.num_files for entry in source.passed_over] == [4]
    assert len(source.items[2]) == 4


def test_an_archive_in_a_class_counts_by_its_size(photos: Path) -> None:
    (photos / "cat" / "more.zip").write_bytes(bytes(10_000))
    with pytest.raises(InputError, match=r"of class 'cat' are left out \(archives that are still packed: \d{2,}"):
        open_source(str(photos), max_rejected=0.1)


def test_files_that_hold_no_image_are_counted_and_stop_nothing(photos: Path) -> None:
    for number in range(8):
        (photos / "cat" / f"{number:03d}.xml").write_text("<box/>")
        (photos / "cat" / f"{number:03d}.meta").write_text("beside an image")
        (photos / "bee" / f"{number:03d}.png.info").write_text("beside an image")
    (photos / "README").write_text("about")
    (photos / "annotations").mkdir()
    (photos / "annotations" / "all.csv").write_text("x")
    (photos / "annotations" / ".DS_Store").write_text("x")
    (photos / "bee" / "Thumbs.db").write_text("x")
    (photos / "bee" / "done").touch()
    (photos / "stray.png").write_bytes(b"x")
    source = open_source(str(photos), max_rejected=0.0)
    assert folders(source) == ["ant", "bee", "cat"]
    assert reasons(source) == {
        ("images outside class folders", ""): 1,
        ("files that hold no image by their names", ""): 11,
        ("files named like the image beside them", ""): 16,
        ("empty files", ""): 1,
        ("names that are hidden, of the system, or links to a folder above", ""): 1,
    }
    assert any(
        line.startswith("images outside class folders: 1 (the first: stray") for line in describe_passed_over(source)
    )


@pytest.mark.parametrize(
    "folder", ["__MACOSX", ".ipynb_checkpoints", "@eaDir", ".thumbnails", "lost+found", "$RECYCLE.BIN", "#recycle"]
)
@pytest.mark.parametrize("where", ["", "cat"])
def test_folders_that_systems_leave_behind_are_no_classes(photos: Path, folder: str, where: str) -> None:
    before = open_source(str(photos)).digest()
    (photos / where / folder / "cat").mkdir(parents=True)
    (photos / where / folder / "cat" / "000.png").write_bytes(b"thumbnail")
    (photos / where / folder / "001.png").write_bytes(b"thumbnail")
    source = open_source(str(photos), max_rejected=0.0)
    assert source.digest() == before
    assert reasons(source) == {("names that are hidden, of the system, or links to a folder above", ""): 1}


@pytest.mark.parametrize("left", [".gitkeep", ".DS_Store", "@eaDir/000.png"])
def test_a_class_folder_with_nothing_but_system_files_is_empty(photos: Path, left: str) -> None:
    (photos / "zebra" / left).parent.mkdir(parents=True)
    (photos / "zebra" / left).touch()
    with pytest.raises(InputError, match="empty class folders: zebra; fill or remove them"):
        open_source(str(photos))


@pytest.mark.parametrize("ending", [".npy", ".npz", ".pt"])
def test_a_class_of_arrays_alone_does_not_vanish(photos: Path, ending: str) -> None:
    (photos / "ant" / f"features{ending}").write_bytes(b"x")
    (photos / "embeddings").mkdir()
    (photos / "embeddings" / f"all{ending}").write_bytes(b"x")
    assert reasons(open_source(str(photos), max_rejected=0.0)) == {("arrays, which are not read", ""): 2}
    for path in (photos / "cat").iterdir():
        path.rename(path.with_suffix(ending))
    with pytest.raises(InputError, match=r"8 of 8 files of class 'cat' are left out \(arrays, .*would vanish; unpack"):
        open_source(str(photos))


def test_a_class_of_broken_links_alone_does_not_vanish(photos: Path) -> None:
    for path in (photos / "cat").iterdir():
        path.unlink()
        path.symlink_to("/nowhere/at/all.png")
    message = r"8 of 8 files of class 'cat' are left out \(broken links: 8; .*would vanish; unpack, convert, restore"
    with pytest.raises(InputError, match=message):
        open_source(str(photos))
    assert folders(open_source(str(photos), classes=("ant", "bee"))) == ["ant", "bee"]


@pytest.mark.parametrize("name", ["dog", "n01.v2", "dog.png.d"])
def test_a_broken_link_in_place_of_a_class_folder_does_not_vanish(photos: Path, name: str) -> None:
    (photos / name).symlink_to("/nowhere/at/all")
    with pytest.raises(InputError, match=rf"1 of 1 files of class '{name}' are left out \(broken links: 1"):
        open_source(str(photos))


def test_broken_links_beside_images_of_a_class_stop_nothing_here(photos: Path) -> None:
    (photos / "cat" / "000.png").unlink()
    (photos / "cat" / "000.png").symlink_to("/nowhere/at/all.png")
    (photos / "cat" / "notes").symlink_to("/nowhere/notes")
    source = open_source(str(photos), max_rejected=0.0)
    assert [item.num_bytes > 0 for item in source.items[2]] == [False, *[True] * 7], "rejected as missing when read"
    assert reasons(source) == {("broken links", ""): 1}


def test_no_known_ending_at_all_says_what_was_found(photos: Path) -> None:
    for path in [*photos.rglob("*.png")]:
        path.rename(path.with_suffix(".heic"))
    with pytest.raises(InputError, match=r"no images in class folders .*found 8 files that end in \.heic.*expected"):
        open_source(str(photos))


def test_avif_is_read(photos: Path) -> None:
    for path in (photos / "cat").iterdir():
        with Image.open(path) as image:
            image.save(path.with_suffix(".avif"), quality=100)
        path.unlink()
    items = open_source(str(photos), max_rejected=0.0).items[2]
    assert [item.key for item in items] == [f"cat/{number:03d}.avif" for number in range(8)]
    data = read_item(items[5])
    assert read_header(data) == "avif"
    assert (decode_image(data)[:, 0, 0].int() - decode_image(data).new_tensor([100, 99, 7]).int()).abs().max() <= 3


def test_an_image_whose_name_is_not_utf8_is_left_out_and_counted(photos: Path) -> None:
    (photos / "cat" / "000.png").rename(photos / "cat" / os.fsdecode(b"th\xe9 0.png"))
    (photos / "cat" / os.fsdecode(b"caf\xe9")).mkdir()
    (photos / "cat" / "001.png").rename(photos / "cat" / os.fsdecode(b"caf\xe9") / "001.png")
    source = open_source(str(photos))
    assert len(source.items[2]) == 6
    assert source.passed_over[0][1:] == ("cat", 2, r"cat/caf\xe9/001.png")
    assert source.digest()
    with pytest.raises(InputError, match=r"2 of 8 files of class 'cat'") as caught:
        open_source(str(photos), max_rejected=0.0)
    assert str(caught.value).isascii()


def test_a_class_whose_name_is_not_utf8_is_one_line(photos: Path) -> None:
    (photos / "cat").rename(photos / os.fsdecode(b"caf\xe9"))
    with pytest.raises(InputError) as caught:
        open_source(str(photos))
    assert r"8 of 8 files of class 'caf\xe9' are left out (names that are not UTF-8: 8;" in str(caught.value)
    assert "rename" in str(caught.value)


def test_a_file_without_meaning_is_shown_whatever_its_name(photos: Path) -> None:
    (photos / "cat" / os.fsdecode(b"not\xe9.txt")).write_text("x")
    assert [entry.first for entry in open_source(str(photos)).passed_over] == [r"cat/not\xe9.txt"]


@pytest.mark.parametrize("target", ["..", ".", "../.."])
def test_a_link_to_a_folder_above_does_not_multiply_images(photos: Path, target: str) -> None:
    before = open_source(str(photos)).digest()
    (photos / "cat" / "loop").symlink_to(target)
    source = open_source(str(photos), max_rejected=0.0)
    assert source.digest() == before
    assert [entry.first for entry in source.passed_over] == ["cat/loop"]


def test_the_count_of_left_out_files_follows_the_classes_that_are_kept(photos: Path) -> None:
    (photos / "cat" / ".hidden.png").write_bytes(b"x")
    (photos / "cat" / "more.zip").write_bytes(bytes(10 * (photos / "cat" / "000.png").stat().st_size))
    (photos / "ant" / "a.heic").write_bytes(b"x")
    (photos / "notes.txt").write_text("x")
    assert open_source(str(photos)).num_ignored_files == 13
    assert open_source(str(photos), classes=("ant", "bee")).num_ignored_files == 2
