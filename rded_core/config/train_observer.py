"""The config of `rded train-observer`: every number a user may change, checked on construction."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from rded_core.config.bounds import AreaShare, MaybePositive, Positive, PositiveFloat, Seed, Side
from rded_core.config.choices import no_secret
from rded_core.config.fields import check_fields
from rded_core.errors import InputError
from rded_core.text.wording import ShortNamed


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainObserverConfig(ShortNamed):
    """Settings for training one observer.

    Attributes:
        source: labelled images to train on, in any form that `rded distill` accepts as source
        arch: network to train: convnet3 to convnet6, resnet18_small, or any torchvision classifier
        val: source of validation images; without it, the accuracy is not measured
        out: file to write, ending in .safetensors
        init: weights file of the same network to start from; a head of a different width is trained from scratch
        epochs: passes over the source
        size: side of the training images in pixels
        batch_size: images per step
        lr: peak learning rate of SGD with momentum
        weight_decay: L2 penalty on matrices and kernels
        crop_scale_min: smallest share of an image's area that a training crop may cover; used only above 64 px
        flip: mirror half of the images; turn off for digits, text and the like
        classes: keep only these classes (names, WordNet ids or folders; comma-separated or repeated)
        seed: root seed of all random draws
        compile: train with torch.compile: faster after a minute of warm-up; on the CPU it needs a C++ compiler
        workers: decoding threads; by default one per core
        device: device that networks run on: auto, cpu, cuda, cuda:N or mps
    """

    source: str
    arch: str
    out: str
    val: str | None = None
    init: str | None = None
    epochs: Positive = 30
    size: Side = 224
    batch_size: Annotated[int, Ge(2)] = 128
    lr: PositiveFloat = 0.1
    weight_decay: Annotated[float, Ge(0)] = 5e-4
    crop_scale_min: AreaShare = 0.08
    flip: bool = True
    classes: tuple[str, ...] | None = None
    seed: Seed = 0
    compile: bool = False
    workers: MaybePositive = None
    device: str = "auto"

    def __post_init__(self) -> None:
        check_fields(self)
        no_secret(source=self.source, val=self.val, init=self.init)
        if not self.out.endswith(".safetensors"):
            raise InputError(f"out must end in .safetensors, got {self.out!r}")
