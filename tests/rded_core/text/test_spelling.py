"""Names compared as people read them."""

import pytest

from rded_core.text.spelling import NameIndex, cleaned, folded, synonyms


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("fo\u0308hn", "f\u00f6hn"),  # as macOS and Linux write it
        ("\ufeffant", "ant"),
        ("2.0", "2"),  # labels are whole numbers, even in a list with floats
        ("\uff21nt", "Ant"),  # a full-width letter
        ("golden_retriever", "golden  retriever"),
        ("jack-o\u2019-lantern", "jack-o'-lantern"),
        ("maillot, tank suit", "maillot tank suit"),
    ],
)
def test_cleaned_names_are_equal(one: str, other: str) -> None:
    assert cleaned(one) == cleaned(other)


@pytest.mark.parametrize(
    ("one", "other"), [("Stra\u00dfe", "STRASSE"), ("Great-White_Shark", "great white shark"), ("\u0130x", "i\u0307x")]
)
def test_folded_names_are_equal(one: str, other: str) -> None:
    assert folded(one) == folded(other)
    assert cleaned(one) != cleaned(other)


def test_different_names_stay_different() -> None:
    assert len({folded(name) for name in ("ant", "ants", "an t", "a+nt", "\u00e4nt", "ant2")}) == 6


def test_a_list_of_synonyms_is_split_at_commas_with_a_blank() -> None:
    assert synonyms("tench, Tinca tinca") == ("tench", "Tinca tinca")
    assert synonyms("Pepper,_bell___healthy") == ("Pepper", "bell___healthy")
    assert synonyms("1,000 islands") == ("1,000 islands",)
    assert synonyms(", ") == (", ",)


def test_a_stricter_spelling_goes_before_a_looser_one() -> None:
    index = NameIndex([["Cardigan, Cardigan Welsh corgi"], ["cardigan"], ["maillot"], ["maillot tank suit"]])
    assert index.find(["Cardigan"]) == ({0}, "Cardigan")
    assert index.find(["cardigan"]) == ({1}, "cardigan")
    assert index.find(["CARDIGAN"]) == ({0, 1}, "cardigan")
    assert index.find(["maillot, tank suit"])[0] == {3}
    assert index.find(["cardigan welsh corgi"])[0] == {0}
    assert index.find(["corgi"]) == (set(), "")


@pytest.mark.parametrize(
    ("listed", "wanted"),
    [
        (["Pepper, healthy", "Tomato, blight"], "Potato, healthy"),
        (["Pepper,_bell___healthy", "Tomato___healthy"], "Pepper,_bell___Bacterial_spot"),
        (["crane, bird", "heron"], "Crane, machine"),
    ],
)
def test_two_lists_that_share_only_a_part_are_different_classes(listed: list[str], wanted: str) -> None:
    assert NameIndex([name] for name in listed).find([wanted]) == (set(), "")


@pytest.mark.parametrize("wanted", ["tench", "Tinca tinca", "Tench, tinca_tinca", "tinca tinca, tench, doctor fish"])
def test_a_single_name_and_a_list_that_contains_the_other_are_equal(wanted: str) -> None:
    assert NameIndex([["tench, Tinca tinca"], ["goldfish, Carassius auratus"]]).find([wanted])[0] == {0}
