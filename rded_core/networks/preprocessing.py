"""The preprocessing a network expects: size, mean and standard deviation."""

from dataclasses import dataclass

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Preprocessing of float RGB 0..1 images: mean and std per channel, and the size and filter used in evaluation."""

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    size: int | None = None
    interpolation: str = "bilinear"
