"""ImageNet's WordNet ids: which id a class folder bears, and where ImageNet-1K's head keeps it."""

import re
from functools import cache
from importlib import resources

WNID_PATTERN = re.compile(r"n\d{8}")


@cache
def imagenet_wnids() -> tuple[str, ...]:
    """Returns the 1000 WordNet ids of ImageNet-1K in head order, which is their sorted order.

    Source: the class list of ILSVRC-2012 (facts; read from timm's synset table).
    """
    return tuple(resources.files("rded_core.io").joinpath("imagenet_wnids.txt").read_text().split())


@cache
def imagenet_names() -> dict[str, str]:
    """Maps each WordNet id of ImageNet-1K to its name in torchvision's class list (``n01440764`` -> ``tench``)."""
    from torchvision.models import ResNet18_Weights

    categories = ResNet18_Weights.IMAGENET1K_V1.meta["categories"]
    return dict(zip(imagenet_wnids(), categories, strict=True))


def wnid_of(name: str) -> str | None:
    """Returns `name` where it is a WordNet id of ImageNet's form (``n`` and eight digits), else None."""
    return name if WNID_PATTERN.fullmatch(name) else None
