"""Names that hold commas, in comma-separated lists."""

import pytest

from rded_core.text.comma_names import join_names

PLANTS = ("Pepper,_bell___healthy", "Potato___healthy", "Tomato___healthy")


@pytest.mark.parametrize(
    ("given", "known", "names"),
    [
        (["Pepper", "_bell___healthy", "Tomato___healthy"], PLANTS, [PLANTS[0], PLANTS[2]]),
        (["Pepper,_bell___healthy", "Tomato___healthy"], PLANTS, [PLANTS[0], PLANTS[2]]),
        (["Tomato___healthy,Pepper,_bell___healthy"], PLANTS, [PLANTS[2], PLANTS[0]]),
        (["tench", "Tinca tinca", "b"], ["tench, Tinca tinca", "b"], ["tench, Tinca tinca", "b"]),
        (["a", "b"], ["a,b", "a", "b"], ["a,b"]),
        (["b", "a"], ["a,b", "a", "b"], ["b", "a"]),
        (["a", "b", "c"], ["a,b", "a", "b,c"], ["a", "b,c"]),
        (["a", "b", "c"], ["a,b", "b,c"], ["a,b", "c"]),
        (["a,b"], ["a,b", "a, b"], ["a,b"]),
        (["a, b"], ["a,b", "a, b"], ["a, b"]),
        (["x", "y"], ["a"], ["x", "y"]),
        (["a", "x", "a"], ["a", ","], ["a", "x", "a"]),
        ([], ["a"], []),
    ],
)
def test_whole_names_go_before_their_parts(given: list[str], known: list[str], names: list[str]) -> None:
    assert join_names(given, known) == names


def test_many_names_are_joined_quickly() -> None:
    known = [f"a{row},b{row},c" for row in range(1000)]
    assert join_names(",".join(known).split(","), known) == known
