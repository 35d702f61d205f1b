"""Classifiers by name: ConvNet-D, ResNets with a small-image stem, and any torchvision classifier.

Functions import torchvision themselves: with it comes torch.compile, a second more at the start of every process.
"""

import re

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rded_core.config.network_names import (
    CONVNET_DEPTHS,
    OWN_NETWORKS,
    SMALL_RESNETS,
    require_convnet_size,
    unknown_network,
)
from rded_core.errors import InputError


class ConvNet(nn.Module):
    """ConvNet-D: D blocks of conv 3x3 (width 128), BatchNorm, ReLU, 2x2 average pool, then a linear layer.

    Source: the ConvNet of the dataset-condensation papers as RDED uses it (BatchNorm variant): D = 3 at 32 px,
    4 at 64, 5 or 6 at 128.
    """

    def __init__(self, *, depth: int, num_classes: int, size: int, width: int = 128) -> None:
        super().__init__()
        require_convnet_size(f"convnet{depth}", size)
        side = size >> depth
        layers: list[nn.Module] = []
        for block in range(depth):
            layers += [
                nn.Conv2d(3 if block == 0 else width, width, kernel_size=3, padding=1),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
                nn.AvgPool2d(2),
            ]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(width * side * side, num_classes)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k"]:
        return self.classifier(self.features(images).flatten(1))


def network_names() -> list[str]:
    """Returns the names that `build_network` accepts: ours first, then torchvision's classifiers."""
    import torchvision

    return [*OWN_NETWORKS, *torchvision.models.list_models(module=torchvision.models)]


def build_network(name: str, *, num_classes: int, size: int) -> nn.Module:
    """Builds an untrained classifier; its weights come from torch's global generator (see `seeds.seeded_init`).

    Args:
        name: `convnet3` .. `convnet6`, `resnet18_small` (3x3 stride-1 stem, no max-pool) and its larger variants, or
            any classifier of ``torchvision.models``.
        num_classes: width of the head.
        size: side of the input images in pixels.

    Raises:
        InputError: unknown name, or a size too small for the network.
    """
    network = _build_unchecked(name, num_classes=num_classes, size=size)
    network.eval()
    try:
        with torch.inference_mode():
            network(torch.zeros(1, 3, size, size))
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{name} cannot take images of {size} px ({reason}); choose a larger size or another network"
        ) from error
    return network.train()


def _build_unchecked(name: str, *, num_classes: int, size: int) -> nn.Module:
    if (match := re.fullmatch(r"convnet(\d+)", name)) and int(match[1]) in CONVNET_DEPTHS:
        return ConvNet(depth=int(match[1]), num_classes=num_classes, size=size)
    if name.endswith("_small") and name.removesuffix("_small") in SMALL_RESNETS:
        return _small_stem_resnet(name.removesuffix("_small"), num_classes)
    import torchvision

    if name not in torchvision.models.list_models(module=torchvision.models):
        raise unknown_network(name, network_names())
    options: dict[str, object] = {}
    if name in ("googlenet", "inception_v3"):  # they return extra heads in training mode, which no loss here supports
        options = {"aux_logits": False, "init_weights": True}
    elif name.startswith("vit_"):
        options = {"image_size": size}
    return torchvision.models.get_model(name, weights=None, num_classes=num_classes, **options)


def _small_stem_resnet(name: str, num_classes: int) -> nn.Module:
    import torchvision

    network: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=num_classes)
    network.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network
