"""Split words in names: parts, capitals, and words that a split is joined to."""

import pytest

from rded_core.io.sources.splits.words import parts_of, spell_splits, split_words


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("imagesTrain", {"train"}), ("trainA", {"train"}), ("testB", {"test"}), ("imagesTrain2017", {"train"}),
        ("IMGTrain", {"train"}), ("TRAIN", {"train"}), ("x_trn", {"train"}), ("tst-0", {"test"}), ("ValA", {"val"}),
        ("Trainer", set()), ("Testarossa", set()), ("myInterval", set()), ("Xtrain", set()), ("Valley", set()),
    ],
)  # fmt: skip
def test_capitals_separate_split_words(name: str, words: set[str]) -> None:
    assert {{"trn": "train", "tst": "test"}.get(word, word) for word in split_words(name)} == words


def test_capitals_that_show_no_split_separate_nothing() -> None:
    assert parts_of("myCat_bigDog") == ["mycat", "bigdog"]
    assert parts_of("bigTrain_0.tar") == ["big", "train", "0", "tar"]
    assert parts_of("trainSet") == ["trainset"]


@pytest.mark.parametrize(
    ("one", "other", "spelled"),
    [
        ("imagenettrain-0.tar", "imagenetval-1.tar", ("imagenet-train-0-tar", "imagenet-val-1-tar")),
        ("a/Xtrain", "a/Xtest", ("a/x-train", "a/x-test")), ("traina", "valida", ("train-a", "valid-a")),
        ("64train", "64valid", ("64-train", "64-valid")), ("xval", "xtest", ("x-val", "x-test")),
    ],
)  # fmt: skip
def test_words_that_differ_by_a_joined_split_are_spelled_apart(one: str, other: str, spelled: tuple[str, str]) -> None:
    assert tuple(spell_splits([one, other, "more"]).values()) == (*spelled, "more")
    assert list(spell_splits([one, "more"]).values()) == [one, "more"]


@pytest.mark.parametrize(
    "names",
    [
        ("trainer", "tester"), ("trains", "tests"), ("interval", "contest"), ("valley", "trainer", "testarossa"),
        ("trainval", "test"), ("strain", "protest"), ("bullet_train", "contest"), ("train/cats", "val/cats"),
        ("a/xtrain", "xtest"), ("xtrain-0", "a-xtest"), ("xtrain", "ytest"), ("xtrain", "testx"),
    ],
)  # fmt: skip
def test_ordinary_words_stay_as_they_are(names: tuple[str, ...]) -> None:
    assert spell_splits(names) == dict(zip(names, names, strict=True))
