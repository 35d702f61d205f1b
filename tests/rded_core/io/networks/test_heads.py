"""Matching the outputs of a head to the source's classes."""

from pathlib import Path

import pytest
import torch
from torch import nn

from rded_core.errors import InputError
from rded_core.io.networks.heads import match_head, read_class_list, slice_head
from rded_core.io.sources.base import SourceClass, name_classes
from rded_core.io.sources.wordnet import imagenet_names, imagenet_wnids


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
