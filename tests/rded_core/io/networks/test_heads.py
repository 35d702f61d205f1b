"""Matching the outputs of a head to the source's classes."""

from pathlib import Path

import pytest
import torch
from torch import nn

from rded_core.errors import InputError
from rded_core.io.networks.heads import match_head, read_class_list, slice_head
from rded_core.io.sources.base import SourceClass, name_classes
from rded_core.io.sources.wordnet import UNCERTAIN, imagenet_names, imagenet_wnids


def named(*folders: str) -> tuple[SourceClass, ...]:
    return name_classes(folders)


def columns_of(head: tuple[str, ...], *folders: str) -> list[int] | None:
    return match_head(head, len(head), named(*folders))[0]


def test_the_same_order_keeps_the_head_as_it_is() -> None:
    columns, note = match_head(("a", "b", "c"), 3, named("a", "b", "c"))
    assert columns is None
    assert "all 3" in note


def test_a_different_order_gives_the_permutation() -> None:
    assert columns_of(("c", "a", "b"), "a", "b", "c") == [1, 2, 0]


def test_a_subset_gives_its_positions() -> None:
    columns, note = match_head(("a", "b", "c", "d"), 4, named("d", "b"))
    assert columns == [3, 1]
    assert "2 of the observer's 4" in note


def test_wordnet_ids_match_ids() -> None:
    assert columns_of(("n01443537", "n01440764"), "n01440764", "n01443537") == [1, 0]


def test_wordnet_ids_match_readable_names_both_ways() -> None:
    assert columns_of(("goldfish", "tench", "x"), "n01440764", "n01443537") == [1, 0]
    assert columns_of(("n01443537", "n01440764", "x"), "tench", "goldfish") == [1, 0]


@pytest.mark.parametrize(
    "folder", ["great_white_shark", "Great White Shark", "great-white shark", "GREAT  WHITE_SHARK"]
)
def test_names_match_regardless_of_case_underscores_and_hyphens(folder: str) -> None:
    assert columns_of(("tench", "great white shark"), folder) == [1]


def test_a_class_without_a_match_is_an_error_that_names_it() -> None:
    with pytest.raises(InputError, match=r"observer's 2: zebra \(no match\)"):
        columns_of(("ant", "bee"), "ant", "zebra")


def test_a_class_that_shares_one_comma_part_with_an_output_has_no_match() -> None:
    head = ("Pepper,_bell___healthy", "Tomato___healthy", "x")
    with pytest.raises(InputError, match=r"Pepper,_bell___Bacterial_spot \(no match\)"):
        columns_of(head, "Pepper,_bell___Bacterial_spot", "Tomato___healthy")
    assert columns_of(head, "Tomato___healthy", "Pepper,_bell___healthy") == [1, 0]


def test_a_class_with_two_matches_is_an_error_that_names_it() -> None:
    with pytest.raises(InputError, match=r"t rex \(2 matches\)"):
        columns_of(("T_rex", "t-rex", "ant"), "ant", "t rex")


def test_two_classes_on_one_output_are_an_error() -> None:
    with pytest.raises(InputError, match="two classes match the same output"):
        columns_of(("t rex", "ant"), "T-Rex", "t_rex")


def test_a_head_smaller_than_the_source_is_an_error() -> None:
    with pytest.raises(InputError, match="the observer has 2 classes, the source 3"):
        match_head(None, 2, named("a", "b", "c"))


def test_an_unnamed_head_of_the_same_width_is_taken_in_order() -> None:
    columns, note = match_head(None, 3, named("a", "b", "c"))
    assert columns is None
    assert "names no classes" in note


def test_an_unnamed_wider_head_is_an_error() -> None:
    with pytest.raises(InputError, match="5 outputs without class names, but the source has 2"):
        match_head(None, 5, named("a", "b"))


def test_class_names_must_match_the_width_of_the_head() -> None:
    with pytest.raises(InputError, match="got 2 observer classes for a head of 3 outputs"):
        match_head(("a", "b"), 3, named("a", "b"))


def test_an_unnamed_imagenet_head_is_matched_by_wordnet_id() -> None:
    assert match_head(None, 1000, named("n01443537", "n15075141", "n01440764"))[0] == [1, 999, 0]
    assert match_head(None, 1000, named(*imagenet_wnids()))[0] is None


def test_an_unnamed_imagenet_head_is_not_guessed_for_other_classes() -> None:
    with pytest.raises(InputError, match="outputs without class names"):
        match_head(None, 1000, named("n01440764", "sparrow"))


def test_torchvisions_imagenet_names_match_all_of_imagenet() -> None:
    """Two of its names differ only in case: "Cardigan" is a dog, "cardigan" a garment."""
    names = tuple(imagenet_names().values())
    assert match_head(names, 1000, named(*imagenet_wnids()))[0] is None
    dog, garment = "n02113186", "n02963159"
    assert match_head(names, 1000, named(garment, dog))[0] == [names.index("cardigan"), names.index("Cardigan")]


def test_a_sliced_head_returns_its_columns_in_order() -> None:
    network = nn.Flatten()
    images = torch.arange(8.0).view(2, 4, 1, 1)
    assert slice_head(network, [3, 1])(images).tolist() == [[3.0, 1.0], [7.0, 5.0]]
    assert slice_head(network, None) is network


def test_a_class_list_has_one_name_per_line(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("great white shark\n\n  n01440764 \nföhn\n", encoding="utf-8")
    assert read_class_list(str(path)) == ("great white shark", "n01440764", "föhn")


def test_an_unreadable_class_list_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "latin1").write_bytes("föhn".encode("latin-1"))
    for name in ("absent", "latin1"):
        with pytest.raises(InputError, match="cannot read the class list"):
            read_class_list(str(tmp_path / name))


def test_a_byte_order_mark_is_not_part_of_the_first_name(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("ant\nbee\n", encoding="utf-8-sig")
    assert read_class_list(str(path)) == ("ant", "bee")


UNCERTAIN_NAMES = ["crane", "Crane", "maillot", "missile", "sunglass", "sunglasses", "SUNGLASSES"]


@pytest.mark.parametrize("folder", UNCERTAIN_NAMES)
@pytest.mark.parametrize("head", ["unnamed", "names"])
def test_a_name_that_lists_of_imagenet_give_to_two_outputs_is_refused(folder: str, head: str) -> None:
    classes = {"unnamed": None, "names": tuple(imagenet_names().values())}[head]
    with pytest.raises(InputError, match=rf"'{folder}' for certain: .* n\d{{8}} .* or n\d{{8}} .*; name .* WordNet id"):
        match_head(classes, 1000, named("tench", folder))


@pytest.mark.parametrize("wnid", [wnid for pair in UNCERTAIN.values() for wnid in pair])
@pytest.mark.parametrize("head", ["unnamed", "names"])
def test_a_wordnet_id_is_certain(wnid: str, head: str) -> None:
    classes = {"unnamed": None, "names": tuple(imagenet_names().values())}[head]
    assert match_head(classes, 1000, named("n01440764", wnid))[0] == [0, imagenet_wnids().index(wnid)]


def test_all_of_imagenet_by_torchvisions_names_stays_certain() -> None:
    """Next to ``crane bird``, a ``crane`` is the machine."""
    names = tuple(imagenet_names().values())
    assert match_head(names, 1000, named(*names))[0] is None
    assert columns_of(names, "crane", "crane bird") == [517, 134]
    assert columns_of(names, "construction crane", "crane") == [517, 134]
    assert columns_of(names, "sunglasses", "sunglass") == [837, 836]
    assert columns_of(names, "maillot, tank suit", "tench") == [639, 0]


def renamed(changes: dict[int, str]) -> tuple[str, ...]:
    return tuple(changes.get(place, name) for place, name in enumerate(imagenet_names().values()))


@pytest.mark.parametrize(
    "head",
    [
        renamed({134: "crane", 638: "maillot", 639: "maillot"}),  # Keras
        renamed({134: "crane", 639: "maillot, tank suit", 744: "projectile, missile"}),  # timm
        renamed({517: "construction crane", 744: "missile", 836: "sunglasses"}),  # open_clip
        tuple(f"{wnid} {name}" for wnid, name in imagenet_names().items()),
        tuple(f"\ufeff{wnid}\t{name}, and so on" for wnid, name in imagenet_names().items()),
    ],
)
def test_wordnet_ids_match_imagenets_outputs_by_any_list(head: tuple[str, ...]) -> None:
    wnids = [wnid for pair in UNCERTAIN.values() for wnid in pair][:6]
    assert columns_of(head, *wnids) == [imagenet_wnids().index(wnid) for wnid in wnids]
    with pytest.raises(InputError, match="'crane' for certain"):
        columns_of(head, "crane", "tench")


def test_a_list_of_imagenet_in_another_order_is_believed() -> None:
    head = tuple(reversed(imagenet_names().values()))
    assert columns_of(head, "n03126707", "n01440764", "goldfish") == [999 - 517, 999, 998]
    swapped = renamed({0: "goldfish", 1: "tench"})
    assert columns_of(swapped, "n01440764", "goldfish") == [1, 0]


def test_a_head_that_is_not_imagenets_keeps_its_own_names() -> None:
    assert columns_of(("excavator", "crane"), "crane") == [1]
    assert columns_of(("sunglasses", "crane", "missile"), "missile", "sunglasses") == [2, 0]
    with pytest.raises(InputError, match=r"'n03126707' for certain: .*; give --observer-classes"):
        columns_of(("excavator", "crane"), "n03126707")


@pytest.mark.parametrize(
    ("line", "folder"),
    [
        ("n01440764 tench, Tinca tinca", "n01440764"),
        ("n01440764 tench, Tinca tinca", "Tinca_tinca"),
        ("n01440764: tench", "tench"),
        ("n02113186-Cardigan", "n02113186"),
        ("n02113186", "n02113186-Cardigan"),
        ("tench, Tinca tinca", "tench"),
        ("tench", "tench, Tinca tinca"),
        ("fo\u0308hn", "F\u00f6hn"),
        ("golden retriever", "Golden_Retriever"),
        ("Pepper,_bell___healthy", "pepper, bell healthy"),
    ],
)
def test_names_match_as_people_read_them(line: str, folder: str) -> None:
    assert columns_of(("x", line, "y"), folder) == [1]


def test_a_synonym_of_two_outputs_is_an_error() -> None:
    with pytest.raises(InputError, match=r"panther \(2 matches\)"):
        columns_of(("cougar, panther", "jaguar, panther", "x"), "panther")


def test_an_unnamed_imagenet_head_is_matched_by_name() -> None:
    assert match_head(None, 1000, named("goldfish", "tench"))[0] == [1, 0]


def test_an_unnamed_head_as_wide_as_the_source_is_not_guessed_between_two_orders() -> None:
    names = sorted(imagenet_names().values())
    with pytest.raises(InputError, match="either order may be meant; give --observer-classes"):
        match_head(None, 1000, named(*names))
    assert match_head(None, 1000, named(*(f"class {number}" for number in range(1000))))[0] is None
