"""The config of `rded train-observer`: every number a user may change, checked on construction."""

from dataclasses import dataclass
from typing import Annotated

from rded_core.config.bounds import ABOVE_ZERO, AreaShare, MaybePositive, Positive, Seed, Side
from rded_core.config.choices import no_secret
from rded_core.config.fields import Bounds, check_fields
from rded_core.errors import InputError
from rded_core.text.wording import ShortNamed


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainObserverConfig(ShortNamed):
    """How one observer is trained.

    Attributes:
        source: labelled images to train on, in the form of `rded distill`'s source
        arch: the network: convnet3 to convnet6, resnet18_small, or any torchvision classifier
        val: source of validation images; by default the accuracy is not measured
        out: file to write, ending in .safetensors
        init: weights file to start from, of the same network; a head of another width is trained anew
        epochs: passes over the source
        size: side of the training images in pixels
        batch_size: images per step
        lr: peak learning rate of SGD with momentum
        weight_decay: L2 penalty on matrices and kernels
        crop_scale_min: smallest share of an image's area that a training crop may cover (sizes above 64 px)
        flip: mirror half of the images; off for digits, text and the like
        classes: keep only these classes (names, WordNet ids or folders, comma-separated)
        seed: root of every random draw
        compile: train through torch.compile: faster after a minute's warm-up; on the CPU it needs a C++ compiler
        workers: threads that decode; by default one per core
        device: where networks run: auto, cpu, cuda, cuda:N or mps
    """

    source: str
    arch: str
    out: str
    val: str | None = None
    init: str | None = None
    epochs: Positive = 30
    size: Side = 224
    batch_size: Annotated[int, Bounds(2)] = 128
    lr: Annotated[float, ABOVE_ZERO] = 0.1
    weight_decay: Annotated[float, Bounds(0)] = 5e-4
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
