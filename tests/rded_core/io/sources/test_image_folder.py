"""ImageFolder sources: class order, splits, WordNet ids, skipped files, and reading back."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest
from PIL import Image

from rded_core.errors import InputError
from rded_core.io.formats.images import RejectedImage
from rded_core.io.sources.base import Source
from rded_core.io.sources.reading import read_item
from rded_core.io.sources.spec import open_source


def write_images(root: Path, *names: str) -> Path:
    """Writes one small JPEG per name below `root`, each in a different colour."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 5), (20 * number % 256, 99, 7)).save(path, format="JPEG")
    return root


@pytest.fixture
def memory_root() -> Iterator[str]:
    root = f"memory://rded-{uuid4().hex}"
    yield root
    fsspec.filesystem("memory").rm(root, recursive=True)


def folders(source: Source) -> list[str]:
    return [label.folder for label in source.classes]


def keys(source: Source) -> list[list[str]]:
    return [[item.key for item in group] for group in source.items]


def test_classes_are_ordered_as_python_sorts_names(image_folder: Path) -> None:
    source = open_source(str(image_folder))
    assert folders(source) == ["1", "10", "2"]
    assert [label.index for label in source.classes] == [0, 1, 2]
    assert [len(group) for group in source.items] == [12, 12, 12]
    assert source.num_items == 36
    assert not source.is_webdataset
    assert all(group == sorted(group) for group in keys(source))


def test_images_nested_in_a_class_folder_belong_to_it(tmp_path: Path) -> None:
    root = write_images(tmp_path, "a/x.jpg", "a/deep/er/y.jpg", "b/z.JPEG")
    assert keys(open_source(str(root))) == [["a/deep/er/y.jpg", "a/x.jpg"], ["b/z.JPEG"]]


@pytest.mark.parametrize(
    ("train", "val"), [("train", "val"), ("Training", "Validation"), ("train", "valid"), ("TRAIN", "test")]
)
def test_splits_are_selected_and_are_not_part_of_keys(tmp_path: Path, train: str, val: str) -> None:
    root = write_images(tmp_path, f"{train}/a/1.jpg", f"{train}/b/2.jpg", f"{val}/a/3.jpg", f"{val}/b/4.jpg")
    assert keys(open_source(str(root))) == [["a/1.jpg"], ["b/2.jpg"]]
    assert keys(open_source(str(root), split="val")) == [["a/3.jpg"], ["b/4.jpg"]]
    named = open_source(str(root / train))
    assert keys(named) == [["a/1.jpg"], ["b/2.jpg"]]


def test_val_is_preferred_to_test(tmp_path: Path) -> None:
    root = write_images(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "test/a/2.jpg", "test/b/2.jpg")
    write_images(tmp_path, "val/a/3.jpg", "val/b/3.jpg")
    assert keys(open_source(str(root), split="val")) == [["a/3.jpg"], ["b/3.jpg"]]


def test_missing_split_is_an_error(tmp_path: Path) -> None:
    root = write_images(tmp_path, "train/a/1.jpg", "train/b/2.jpg")
    with pytest.raises(InputError, match=r"splits train but no 'val'"):
        open_source(str(root), split="val")


def test_a_folder_without_images_next_to_splits_does_not_turn_splits_into_classes(tmp_path: Path) -> None:
    root = write_images(tmp_path, "train/a/1.jpg", "train/b/2.jpg", "val/a/3.jpg", "val/b/4.jpg")
    (root / "annotations").mkdir()
    (root / "annotations" / "labels.csv").write_text("1.jpg,a\n")
    assert folders(open_source(str(root))) == ["a", "b"]


def test_wordnet_folders_get_their_id_and_a_readable_name(tmp_path: Path) -> None:
    root = write_images(tmp_path, "n01440764/1.jpg", "n99999999/2.jpg", "other/3.jpg")
    first, unknown, other = open_source(str(root)).classes
    assert (first.name, first.wnid, first.folder) == ("tench", "n01440764", "n01440764")
    assert (unknown.name, unknown.wnid) == ("n99999999", "n99999999")
    assert (other.name, other.wnid) == ("other", None)


def test_files_that_are_not_read_are_counted(tmp_path: Path) -> None:
    root = write_images(tmp_path, "a/1.jpg", "b/2.jpg", "stray.jpg")
    (root / "README.md").write_text("about")
    (root / "a" / "labels.txt").write_text("1")
    (root / "a" / ".hidden.jpg").write_text("1")
    (root / "a" / "jpg").write_text("no ending")
    source = open_source(str(root))
    assert source.num_items == 2
    assert source.num_ignored_files == 5
    assert sum(entry.num_files for entry in source.passed_over) == 5


def test_items_read_back_as_stored(image_folder: Path) -> None:
    source = open_source(str(image_folder))
    for item in (item for group in source.items for item in group):
        data = (image_folder / item.key).read_bytes()
        assert read_item(item) == data
        assert item.num_bytes == len(data)
        assert item.uri == item.key


def test_a_vanished_file_is_rejected_as_missing(image_folder: Path) -> None:
    item = open_source(str(image_folder)).items[0][0]
    Path(item.path).unlink()
    with pytest.raises(RejectedImage, match="missing") as caught:
        read_item(item)
    assert caught.value.reason == "missing"


def test_a_dangling_link_is_listed_and_rejected_when_read(image_folder: Path) -> None:
    (image_folder / "2" / "zz.jpg").symlink_to("/nowhere/at/all.jpg")
    item = open_source(str(image_folder)).items[2][-1]
    assert item.key == "2/zz.jpg"
    with pytest.raises(RejectedImage) as caught:
        read_item(item)
    assert caught.value.reason == "missing"


def test_digest_depends_on_keys_and_lengths_but_not_on_location(image_folder: Path, tmp_path: Path) -> None:
    digest = open_source(str(image_folder)).digest()
    copy = tmp_path / "elsewhere"
    shutil.copytree(image_folder, copy)
    assert open_source(str(copy)).digest() == digest
    changed = {digest}
    (copy / "1" / "000.jpg").rename(copy / "1" / "a000.jpg")
    changed.add(open_source(str(copy)).digest())
    (copy / "1" / "001.jpg").write_bytes(b"shorter")
    changed.add(open_source(str(copy)).digest())
    (copy / "10" / "000.jpg").unlink()
    changed.add(open_source(str(copy)).digest())
    assert len(changed) == 4


def test_a_remote_folder_reads_like_a_local_one(image_folder: Path, memory_root: str) -> None:
    filesystem = fsspec.filesystem("memory")
    for path in image_folder.rglob("*.jpg"):
        filesystem.pipe(f"{memory_root}/{path.relative_to(image_folder).as_posix()}", path.read_bytes())
    local, remote = open_source(str(image_folder)), open_source(memory_root)
    assert keys(remote) == keys(local)
    assert remote.digest() == local.digest()
    item = remote.items[1][3]
    assert item.path.startswith("memory://")
    assert read_item(item) == (image_folder / item.key).read_bytes()
    filesystem.rm(item.path)
    with pytest.raises(RejectedImage) as caught:
        read_item(item)
    assert caught.value.reason == "missing"


def test_one_class_is_an_error(tmp_path: Path) -> None:
    root = write_images(tmp_path, "only/1.jpg", "only/2.jpg")
    with pytest.raises(InputError, match=r"one class \(only\)"):
        open_source(str(root))


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(InputError, match="is empty; expected class folders"):
        open_source(str(tmp_path))


def test_a_folder_without_class_folders_is_an_error(tmp_path: Path) -> None:
    root = write_images(tmp_path, "1.jpg", "2.jpg")
    with pytest.raises(InputError, match=r"no images in class folders .*; images lie in it directly, so give"):
        open_source(str(root))


@pytest.mark.parametrize("spec", ["{root}/nowhere", "{root}/a/1.jpg", "memory://rded-nowhere"])
def test_a_path_that_is_not_a_folder_is_an_error(tmp_path: Path, spec: str) -> None:
    write_images(tmp_path, "a/1.jpg", "b/2.jpg")
    with pytest.raises(InputError, match=r"no such folder|is a file|nothing found"):
        open_source(spec.format(root=tmp_path))


def test_a_class_folder_without_images_is_not_skipped(image_folder: Path) -> None:
    """A failed copy must not make a class vanish."""
    (image_folder / "zebra").mkdir()
    (image_folder / ".cache").mkdir()
    (image_folder / "__MACOSX").mkdir()
    (image_folder / "__MACOSX" / "._1.png").touch()
    with pytest.raises(InputError, match="empty class folders: zebra; fill or remove them"):
        open_source(str(image_folder))
    with pytest.raises(InputError, match="empty class folders: zebra; fill or remove them"):
        open_source(str(image_folder), classes=("1", "zebra"))
    assert len(open_source(str(image_folder), classes=("1", "2")).classes) == 2
