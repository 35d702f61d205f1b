"""Names of networks that this package defines, known without PyTorch."""

import difflib
import re
from collections.abc import Collection

from rded_core.errors import InputError

CONVNET_DEPTHS = (3, 4, 5, 6)
SMALL_RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101")

OWN_NETWORKS = (*(f"convnet{depth}" for depth in CONVNET_DEPTHS), *(f"{name}_small" for name in SMALL_RESNETS))


def unknown_network(name: str, known: Collection[str]) -> InputError:
    """Returns the error of a name that is neither ours nor torchvision's, with the closest of the `known` names."""
    near = ", ".join(difflib.get_close_matches(name, known, n=3))
    return InputError(
        f"unknown network {name!r}{f' (did you mean {near}?)' if near else ''}; choose convnet3 to convnet6, "
        "resnet18_small (34, 50, 101), or a torchvision classifier, such as resnet18"
    )


def require_convnet_size(name: str, size: int) -> None:
    """Raises InputError if a ConvNet halves images of `size` px to nothing; other networks are not checked."""
    match = re.fullmatch(r"convnet(\d+)", name)
    depth = int(match[1]) if match else 0
    if size >> depth < 1:
        raise InputError(f"{name} halves the image {depth} times: size must be >= {2**depth}, got {size}")
