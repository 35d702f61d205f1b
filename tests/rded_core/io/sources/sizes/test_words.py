"""What names say about sizes."""

import pytest

from rded_core.io.sources.sizes.words import is_resolution, names_that_differ_by_size, spell_sizes


@pytest.mark.parametrize("word", ["160px", "64pixels", "32x32", "64×48", "480p", "64p"])
def test_resolutions(word: str) -> None:
    assert is_resolution(word)


@pytest.mark.parametrize("word", ["10p", "20p", "2x4", "4px", "64", "px", "64pxl", "size"])
def test_other_words_are_no_resolutions(word: str) -> None:
    assert not is_resolution(word)


def test_a_size_after_its_unit_is_spelled_before_it() -> None:
    paths = ["size_32/a.parquet", "res64/b.parquet", "x/train_px-128.parquet", "x/resnet18.parquet"]
    assert list(spell_sizes(paths).values()) == ["32px/a.parquet", "64px/b.parquet", "x/train_128px.parquet", paths[3]]


@pytest.mark.parametrize("paths", [["res-0.parquet", "res-64.parquet"], ["size 064", "size 128"]])
def test_numbers_that_count_from_zero_are_no_sizes(paths: list[str]) -> None:
    assert spell_sizes(paths) == dict(zip(paths, paths, strict=True))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["imagenet64", "imagenet128"], True), (["img-64", "img-128", "other"], True), (["img", "img32"], True),
        (["imagenette2", "imagenette2-160", "imagenette2-320"], True), (["a_64_v1", "a_128_v2"], True),
        (["imagenet8", "imagenet16", "imagenet32"], True), (["x8", "x16"], False), (["x64", "x65"], False),
        (["shard64", "shard128"], False), (["cat64", "dog128"], False), (["2024-64", "2024-128"], False),
        (["x064", "x128"], False), (["x64"], False), ([], False),
    ],
)  # fmt: skip
def test_names_differ_by_usual_sizes_after_a_word(names: list[str], expected: bool) -> None:
    found = names_that_differ_by_size(names, is_counted=lambda word: word == "shard")
    assert found == (sorted(set(names) - {"other"}) if expected else [])
