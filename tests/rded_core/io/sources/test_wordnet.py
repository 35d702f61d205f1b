"""ImageNet's WordNet ids and names."""

import re

import pytest

from rded_core.io.sources.wordnet import imagenet_names, imagenet_wnids, wnid_of


def test_there_are_a_thousand_ids_in_sorted_order() -> None:
    wnids = imagenet_wnids()
    assert len(wnids) == len(set(wnids)) == 1000
    assert list(wnids) == sorted(wnids)
    assert all(re.fullmatch(r"n\d{8}", wnid) for wnid in wnids)


@pytest.mark.parametrize(
    ("place", "wnid", "name"),
    [
        (0, "n01440764", "tench"),
        (1, "n01443537", "goldfish"),
        (207, "n02099601", "golden retriever"),
        (482, "n02979186", "cassette player"),
        (566, "n03394916", "French horn"),
        (574, "n03445777", "golf ball"),
        (999, "n15075141", "toilet tissue"),
    ],
)
def test_ids_have_their_position_in_the_head_and_their_name(place: int, wnid: str, name: str) -> None:
    assert imagenet_wnids()[place] == wnid
    assert imagenet_names()[wnid] == name


def test_every_id_has_a_unique_name() -> None:
    assert tuple(imagenet_names()) == imagenet_wnids()
    assert len(set(imagenet_names().values())) == 1000


def test_names_equal_those_of_torchvisions_weights() -> None:
    from torchvision.models import ResNet18_Weights

    assert list(imagenet_names().values()) == ResNet18_Weights.IMAGENET1K_V1.meta["categories"]


@pytest.mark.parametrize("name", ["n01440764", "n00000000"])
def test_folders_with_an_id_pattern_are_ids(name: str) -> None:
    assert wnid_of(name) == name


@pytest.mark.parametrize("name", ["tench", "n0144076", "n014407640", "N01440764", "x01440764", "n01440764 ", ""])
def test_other_folders_are_not(name: str) -> None:
    assert wnid_of(name) is None
