"""Choosing some classes of a source, and aligning a second source with the first."""

from dataclasses import replace
from pathlib import Path

import pytest

from rded_core.errors import InputError
from rded_core.io.sources.alignment import align_classes
from rded_core.io.sources.base import PassedOver, Source, SourceClass, SourceItem, keep_classes, name_classes
from rded_core.io.sources.spec import open_source


def made_up(*folders: str) -> Source:
    items = tuple((SourceItem(key=f"{folder}/0.jpg", path=f"/x/{folder}/0.jpg"),) for folder in folders)
    return Source(spec="made-up", classes=name_classes(folders), items=items)


def test_kept_classes_stay_in_source_order_and_are_renumbered(image_folder: Path) -> None:
    whole = open_source(str(image_folder))
    source = open_source(str(image_folder), classes=("2", "1"))
    assert [(label.index, label.folder) for label in source.classes] == [(0, "1"), (1, "2")]
    assert source.items == (whole.items[0], whole.items[2])


def test_classes_are_kept_by_folder_name_or_wordnet_id() -> None:
    source = made_up("n01440764", "n01443537", "sparrow")
    assert [label.folder for label in keep_classes(source, ["goldfish", "n01440764"]).classes] == [
        "n01440764",
        "n01443537",
    ]
    assert len(keep_classes(source, ["tench", "n01440764", "sparrow"]).classes) == 2


def test_unknown_class_error_lists_the_classes(image_folder: Path) -> None:
    with pytest.raises(InputError, match=r"'3' is not a class of .*; classes are: 1, 10, 2"):
        open_source(str(image_folder), classes=("1", "3"))


def test_ambiguous_class_name_is_an_error() -> None:
    with pytest.raises(InputError, match="'tench' matches several classes"):
        keep_classes(made_up("n01440764", "tench"), ["tench"])


def test_keeping_one_class_is_an_error(image_folder: Path) -> None:
    with pytest.raises(InputError, match=r"--classes leaves one class \(10\) of .*; name two or more in --classes$"):
        open_source(str(image_folder), classes=("10",))


def test_alignment_uses_the_wanted_order_and_drops_other_classes() -> None:
    source = made_up("a", "b", "c", "d")
    wanted = (SourceClass(0, "d", None, "d"), SourceClass(1, "b", None, "b"))
    aligned = align_classes(source, wanted)
    assert [(label.index, label.folder) for label in aligned.classes] == [(0, "d"), (1, "b")]
    assert [group[0].key for group in aligned.items] == ["d/0.jpg", "b/0.jpg"]


def test_alignment_keeps_what_was_left_out_of_the_wanted_classes_and_of_none() -> None:
    lost = tuple(PassedOver("files", folder, 1, f"{folder}/0.heic") for folder in ("a", "b", ""))
    aligned = align_classes(replace(made_up("a", "b", "c"), passed_over=lost), name_classes(["c", "b"]))
    assert [entry.folder for entry in aligned.passed_over] == ["b", ""]


def test_alignment_matches_readable_names_to_wordnet_folders() -> None:
    source, other = made_up("n01440764", "n01443537"), made_up("goldfish", "tench")
    assert [label.folder for label in align_classes(other, source.classes).classes] == ["tench", "goldfish"]
    assert [label.folder for label in align_classes(source, other.classes).classes] == ["n01443537", "n01440764"]


def test_alignment_with_itself_changes_nothing(image_folder: Path) -> None:
    source = open_source(str(image_folder))
    assert align_classes(source, source.classes) == source


def test_alignment_error_names_the_missing_class() -> None:
    with pytest.raises(InputError, match="made-up has no class for 'z'; its classes are a, b"):
        align_classes(made_up("a", "b"), made_up("a", "z").classes)


@pytest.mark.parametrize(
    ("missing", "other"),
    [
        ("Pepper,_bell___Bacterial_spot", "Pepper,_bell___healthy"),
        ("Potato, healthy", "Pepper, healthy"),
        ("orange, sick", "orange, healthy"),
    ],
)
def test_a_missing_class_is_not_measured_on_one_that_shares_a_comma_part(missing: str, other: str) -> None:
    with pytest.raises(InputError, match="made-up has no class for"):
        align_classes(made_up(other, "x"), made_up(missing, "x").classes)


@pytest.mark.parametrize(
    ("one", "other"), [("fo\u0308hn", "f\u00f6hn"), ("golden_retriever", "Golden Retriever"), ("tench", "tench, Tinca")]
)
def test_alignment_compares_names_as_people_read_them(one: str, other: str) -> None:
    aligned = align_classes(made_up("x", other), made_up(one, "x").classes)
    assert [label.folder for label in aligned.classes] == [other, "x"]


def test_alignment_refuses_a_name_that_may_be_two_classes() -> None:
    with pytest.raises(InputError, match=r"not certain that 'crane' of made-up is 'n03126707': .*n02012849"):
        align_classes(made_up("crane", "tench"), made_up("n03126707", "n01440764").classes)
    with pytest.raises(InputError, match="not certain that 'n03126707' of made-up is 'crane'"):
        align_classes(made_up("n03126707", "tench"), made_up("crane", "tench").classes)
    settled = align_classes(made_up("crane", "crane bird"), made_up("n03126707", "n02012849").classes)
    assert [label.folder for label in settled.classes] == ["crane", "crane bird"]
    assert align_classes(made_up("crane", "tench"), made_up("crane", "tench").classes).classes[0].folder == "crane"


def test_alignment_gives_no_class_twice() -> None:
    with pytest.raises(InputError, match="two classes match the same class of made-up"):
        align_classes(made_up("t rex", "ant"), made_up("T_rex", "t-rex").classes)


@pytest.mark.parametrize("wanted", [["Pepper", "_bell", "b"], ["Pepper,_bell", "b"], ["b,Pepper,_bell"]])
def test_classes_whose_names_hold_commas_are_kept(wanted: list[str]) -> None:
    assert [label.folder for label in keep_classes(made_up("Pepper,_bell", "a", "b"), wanted).classes] == [
        "Pepper,_bell", "b",
    ]  # fmt: skip


def test_a_part_of_a_name_with_commas_is_unknown() -> None:
    with pytest.raises(InputError, match="'Pepper' is not a class"):
        keep_classes(made_up("Pepper,_bell", "a"), ["Pepper", "a"])
