"""torchvision sources: a local set, made-up sets, and clear errors for missing ones."""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torchvision.datasets.utils import verify_str_arg

from rded_core.errors import InputError
from rded_core.io.formats.images import decode_image
from rded_core.io.sources.reading import read_item
from rded_core.io.sources.spec import open_source
from rded_core.io.sources.torchvision_sets import _open_dataset


def write_mnist(root: Path) -> None:
    """Writes the four files of MNIST with twenty images per split; image i of digit d has the shade 10 * d + i."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix, first in (("train", 0), ("t10k", 1)):
        labels = bytes(number % 10 for number in range(20))
        shades = [10 * label + number // 10 + first for number, label in enumerate(labels)]
        pixels = b"".join(bytes([shade]) * (28 * 28) for shade in shades)
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, 20, 28, 28) + pixels)
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, 20) + labels)


class TinySet:
    """A set of four images in the style of torchvision, with its labels in `targets`."""

    classes = ("cat", "dog")

    def __init__(self, root: str, train: bool = True, download: bool = False) -> None:
        del root
        assert download
        self.shade = 10 if train else 90
        self.targets = [1, 0, 1, 1] if train else [0, 1, 1, 0]

    def __getitem__(self, row: int) -> tuple[Image.Image, int]:
        return Image.new("RGB", (3, 2), (self.shade + row, 0, 255)), self.targets[row]


class SplitSet(TinySet):
    """Takes its split by name, and keeps its labels as SVHN does."""

    def __init__(self, root: str, split: str = "train", download: bool = False) -> None:
        assert split in ("train", "test"), split
        super().__init__(root, train=split == "train", download=download)
        self.labels = np.array(self.targets)
        del self.targets

    def __getitem__(self, row: int) -> tuple[Image.Image, int]:
        return Image.new("RGB", (3, 2), (self.shade + row, 0, 255)), 0


def no_network(*_: Any, **__: Any) -> NoReturn:
    raise URLError("no network here")


def test_a_local_set_opens_and_its_pixels_survive(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    source = open_source(f"torchvision:MNIST@{tmp_path}")
    assert [label.name for label in source.classes][:2] == ["0 - zero", "1 - one"]
    assert [[item.offset for item in group] for group in source.items] == [[d, d + 10] for d in range(10)]
    pixels = decode_image(read_item(source.items[7][1]))
    assert pixels.shape == (3, 28, 28)
    assert pixels.unique().tolist() == [71]


def test_val_is_a_separate_split_with_its_own_keys(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    train, val = (open_source(f"torchvision:MNIST@{tmp_path}", split=split) for split in ("train", "val"))
    assert train.items[3][0].key != val.items[3][0].key
    assert decode_image(read_item(train.items[3][0])).unique().tolist() == [30]
    assert decode_image(read_item(val.items[3][0])).unique().tolist() == [31]


@pytest.mark.parametrize("kind", [TinySet, SplitSet])
def test_sets_by_train_flag_and_by_split_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Callable[..., Any]
) -> None:
    monkeypatch.setattr(torchvision.datasets, "MadeUpSet", kind, raising=False)
    source = open_source(f"torchvision:MadeUpSet@{tmp_path}")
    assert [label.name for label in source.classes] == ["cat", "dog"]
    assert [[item.offset for item in group] for group in source.items] == [[1], [0, 2, 3]]
    data = read_item(source.items[1][2])
    assert Image.open(io.BytesIO(data)).format == "PNG"
    assert decode_image(data)[:, 0, 0].tolist() == [13, 0, 255]
    val = open_source(f"torchvision:MadeUpSet@{tmp_path}", split="val")
    assert [[item.offset for item in group] for group in val.items] == [[0, 3], [1, 2]]
    assert decode_image(read_item(val.items[1][0]))[:, 0, 0].tolist() == [91, 0, 255]


def test_no_network_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    with pytest.raises(InputError, match=r"download failed \(.*\); download it on a machine with network access"):
        open_source(f"torchvision:CIFAR10@{tmp_path}")


@pytest.mark.parametrize("name", ["CIFAR11", "", "cifar", "mnist"])
def test_unknown_set_names_are_errors(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="torchvision has no dataset"):
        open_source(f"torchvision:{name}@{tmp_path}")


def test_a_set_without_labels_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no readable class labels"):
        open_source(f"torchvision:FakeData@{tmp_path}")


def test_a_set_without_splits_is_the_same_for_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training and validation images are then recognised as the same."""

    class Unsplit(TinySet):
        def __init__(self, root: str, download: bool = False) -> None:
            super().__init__(root, download=download)

    monkeypatch.setattr(torchvision.datasets, "Unsplit", Unsplit, raising=False)
    train, val = (open_source("torchvision:Unsplit", split=split) for split in ("train", "val"))
    assert train.digest() == val.digest()
    assert decode_image(read_item(val.items[1][0]))[0, 0, 0] == 10


def save_picture(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (3, 2), (shade, 0, 255)).save(path, format="PNG")


def write_imagenet(root: Path) -> None:
    synonyms = {"n01440764": ("tench", "Tinca tinca"), "n03126707": ("crane",), "n02012849": ("crane",)}
    torch.save((synonyms, []), root / "meta.bin")
    for split in ("train", "val"):
        for number, wnid in enumerate(synonyms):
            save_picture(root / split / wnid / "a.png", number)


def write_imagenette(root: Path) -> None:
    for split in ("train", "val"):
        for number, wnid in enumerate(("n01440764", "n02102040")):
            save_picture(root / "imagenette2" / split / wnid / "a.JPEG", number)


@pytest.mark.parametrize("split", ["train", "val"])
def test_imagenet_keeps_wordnet_ids_and_names(tmp_path: Path, split: str) -> None:
    """Its classes are lists of synonyms, two of which are the same."""
    write_imagenet(tmp_path)
    source = open_source(f"torchvision:ImageNet@{tmp_path}", split=split)
    assert [(label.wnid, label.name) for label in source.classes] == [
        ("n01440764", "tench"),
        ("n02012849", "crane bird"),
        ("n03126707", "crane"),
    ]
    assert decode_image(read_item(source.items[1][0]))[0, 0, 0] == 2


@pytest.mark.parametrize("split", ["train", "val"])
def test_imagenette_opens(tmp_path: Path, split: str) -> None:
    write_imagenette(tmp_path)
    source = open_source(f"torchvision:Imagenette@{tmp_path}", split=split)
    assert [label.wnid for label in source.classes] == ["n01440764", "n02102040"]
    assert [len(items) for items in source.items] == [1, 1]


def splits_as(*accepted: str, unlabelled: str = "") -> type:
    """Returns a set that takes these values of ``split``, as torchvision's check them."""

    class Set(TinySet):
        def __init__(self, root: str, split: str = accepted[0], download: bool = False) -> None:
            verify_str_arg(split, "split", accepted)
            super().__init__(root, train=split.startswith("train"), download=download)
            self._labels, self.used = [None if split == unlabelled else label for label in self.targets], split
            del self.targets

    return Set


@pytest.mark.parametrize(
    ("accepted", "train", "val"),
    [
        (("train", "test"), "train", "test"),
        (("train", "val"), "train", "val"),
        (("train", "valid", "test"), "train", "test"),
        (("train", "valid"), "train", "valid"),
        (("trainval", "test"), "trainval", "test"),
        (("train", "val", "trainval", "test"), "train", "test"),
        (("train-standard", "train-challenge", "val"), "train-standard", "val"),
    ],
)
def test_each_set_is_asked_for_its_own_splits(
    monkeypatch: pytest.MonkeyPatch, accepted: tuple[str, ...], train: str, val: str
) -> None:
    made_up = splits_as(*accepted)
    monkeypatch.setattr(torchvision.datasets, "MadeUpSet", made_up, raising=False)
    used: list[str] = []
    for split in ("train", "val"):
        _open_dataset.cache_clear()
        open_source("torchvision:MadeUpSet", split=split)
        used.append(_open_dataset("torchvision:MadeUpSet", split)[0].used)
    assert used == [train, val]


def test_the_test_split_of_places365_has_no_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    made_up = splits_as("train-standard", "val", "test", unlabelled="test")
    made_up.__name__ = "Places365"
    monkeypatch.setattr(torchvision.datasets, "Places365", made_up)
    open_source("torchvision:Places365@unlabelled", split="val")
    assert _open_dataset("torchvision:Places365@unlabelled", "val")[0].used == "val"


def test_an_unknown_split_is_an_error_that_lists_the_sets_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets, "MadeUpSet", splits_as("fold1", "fold2"), raising=False)
    _open_dataset.cache_clear()
    with pytest.raises(InputError, match="has no split for train; it has 'fold1', 'fold2'; name one") as error:
        open_source("torchvision:MadeUpSet")
    assert "download" not in str(error.value)


def test_unlabelled_images_are_no_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """STL10 marks them with -1, which would be the last class."""

    class Unlabelled(TinySet):
        def __init__(self, root: str, train: bool = True, download: bool = False) -> None:
            super().__init__(root, train, download)
            self.targets = [-1, -1, -1, -1]

    monkeypatch.setattr(torchvision.datasets, "Unlabelled", Unlabelled, raising=False)
    with pytest.raises(InputError, match="no readable class labels"):
        open_source("torchvision:Unlabelled")


def test_a_set_of_several_sets_asks_for_one_of_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has the parts byclass, .*; name one, as in torchvision:EMNIST:byclass@"):
        open_source(f"torchvision:EMNIST@{tmp_path}")


def test_a_part_and_a_split_are_two_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in EMNIST, whose parent takes ``train`` and ``download``."""

    class Parts(TinySet):
        splits = ("letters", "digits")

        def __init__(self, root: str, split: str, **kwargs: Any) -> None:
            verify_str_arg(split, "split", self.splits)
            super().__init__(root, **kwargs)

    monkeypatch.setattr(torchvision.datasets, "Parts", Parts, raising=False)
    train, val = (open_source("torchvision:Parts:digits", split=split) for split in ("train", "val"))
    assert decode_image(read_item(train.items[1][0]))[0, 0, 0] == 10
    assert decode_image(read_item(val.items[1][0]))[0, 0, 0] == 91
    with pytest.raises(InputError, match="has no split for train; it has 'letters', 'digits'"):
        open_source("torchvision:Parts:words")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Kinetics", "cannot be opened by its name alone .*frames_per_clip.*; export its images to class folders"),
        ("PhotoTour", "cannot be opened by its name alone .*'name'"),
        ("INaturalist", "consists of class folders; give their folder itself"),
        ("FER2013", "torchvision does not download this set; put its files there"),
        ("CIFAR10:train", "has no part 'train'; leave it out"),
    ],
)
def test_sets_that_cannot_be_opened_say_why(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_source(f"torchvision:{name}@{tmp_path}")


@pytest.mark.parametrize("place", ["y", "_samples", "two columns"])
def test_labels_are_found_where_sets_keep_them(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """As in Caltech101, GTSRB and QMNIST."""

    class Set(TinySet):
        def __init__(self, root: str, train: bool = True, download: bool = False) -> None:
            super().__init__(root, train, download)
            labels = self.targets
            del self.targets
            if place == "two columns":
                self.targets = torch.tensor([[label, 7] for label in labels])
            else:
                setattr(self, place, [("a.png", label) for label in labels] if place == "_samples" else labels)

    monkeypatch.setattr(torchvision.datasets, f"Set{len(place)}", Set, raising=False)
    source = open_source(f"torchvision:Set{len(place)}")
    assert [[item.offset for item in group] for group in source.items] == [[1], [0, 2, 3]]
