"""Counts, settings and names in sentences."""

import re
from pathlib import Path

import pytest

from rded_core.text.wording import counted, percent, setting_words, short_name


@pytest.mark.parametrize(
    ("count", "noun", "expected"),
    [
        (1, "image", "1 image"),
        (0, "image", "0 images"),
        (2, "class", "2 classes"),
        (3, "copy", "3 copies"),
        (2, "epoch", "2 epochs"),
        (3, "batch", "3 batches"),
        (2, "more mismatch", "2 more mismatches"),
        (2, "box", "2 boxes"),
    ],
)
def test_nouns_are_plural_unless_the_count_is_one(count: int, noun: str, expected: str) -> None:
    assert counted(count, noun) == expected


def test_percents_are_written_with_a_space() -> None:
    assert [percent(0.9876), percent(1.0, 0), percent(0.1235, 2)] == ["98.8 %", "100 %", "12.35 %"]


@pytest.mark.parametrize("folder", ["rded_core", "tasks", "flows", "deployments"])
def test_no_message_formats_a_percent_otherwise(folder: str) -> None:
    for path in Path(folder).rglob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not re.search(r"\.\d%\}", line), f"{path}: {line}"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ipc", "ipc"),
        ("config.num_candidates", "num-candidates"),
        ("source.digest", "source images"),
        ("batch_size", "label-batch-size"),
    ],
)
def test_settings_are_named_as_on_the_command_line(name: str, expected: str) -> None:
    assert setting_words(name) == expected


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("/data/photos", "photos"),
        ("/data/photos/train/", "photos"),
        ("runs/photos-ipc10/dataset", "photos-ipc10"),
        ("s3://bucket/photos/train-{0..9}.tar", "photos"),
        ("simplecache::s3://bucket/photos", "photos"),
        ("https://host/photos.tar?version=3", "photos"),
        ("shards-{000000..000099}.tar", "shards"),
        ("shards/*.tar", "shards"),
        ("torchvision:CIFAR10@/data/sets", "CIFAR10"),
        (".", "."),
        ("/train", "train"),
        ("/data/" + "x" * 99, "x" * 40),
    ],
)
def test_short_names(spec: str, name: str) -> None:
    assert short_name(spec) == name
