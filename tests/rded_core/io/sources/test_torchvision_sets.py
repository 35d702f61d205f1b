"""torchvision sources: a local set, made-up sets, and clear errors for missing ones."""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import URLError

import numpy as np
import pytest
import torchvision
from PIL import Image

from rded_core.errors import InputError
from rded_core.io.formats.images import decode_image
from rded_core.io.sources.reading import read_item
from rded_core.io.sources.spec import open_source


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
