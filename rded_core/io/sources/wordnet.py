"""ImageNet's WordNet ids: the id of a class folder, and its position in ImageNet-1K's head."""

import re
from functools import cache
from importlib import resources

WNID_PATTERN = re.compile(r"n\d{8}")


@cache
def imagenet_names() -> dict[str, str]:
    """Returns the readable name of each WordNet id of ImageNet-1K, in head order (``n01440764`` -> ``tench``).

    Source: the class list of ILSVRC-2012 (facts; ids as in timm's synset table, names as in torchvision's weights).
    """
    lines = resources.files("rded_core.io.sources").joinpath("imagenet_classes.tsv").read_text(encoding="utf-8")
    return dict(line.split("\t") for line in lines.splitlines())


@cache
def imagenet_wnids() -> tuple[str, ...]:
    """Returns the 1000 WordNet ids of ImageNet-1K in head order, which is their sorted order."""
    return tuple(imagenet_names())


def wnid_of(name: str) -> str | None:
    """Returns `name` if it is a WordNet id as in ImageNet (``n`` and eight digits), else None."""
    return name if WNID_PATTERN.fullmatch(name) else None
