"""The config of `rded evaluate`: every number a user may change, checked on construction."""

from dataclasses import dataclass

from rded_core.config.bounds import MaybePositive, MaybePositiveFloat, Positive
from rded_core.config.choices import Control, ProtocolName, StudentLoss, no_secret
from rded_core.config.fields import check_fields
from rded_core.errors import InputError
from rded_core.text.wording import ShortNamed


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig(ShortNamed):
    """Settings for one evaluation.

    Attributes:
        dataset: a run folder of `rded distill`, or the dataset folder inside it
        val: source of real validation images, with the same classes
        student: network to train: convnet3 to convnet6, resnet18_small, or any torchvision classifier
        protocol: how students are trained: paper, standard or hard (one-hot labels, no CutMix); by default as recorded
            with the labels
        epochs: epochs to train; by default as many as the dataset's recipe says
        seeds: number of students trained on each set, with seeds from 0 upwards
        controls: sets of the same IPC and label budget to compare with: random (real images), mosaic (tiles chosen
            without scores), or none
        looks: how often the student is measured in the last fifth of training, including the last epoch
        loss: loss of the student: kl (the method's), or gift (cosine to the teacher's logits plus a tenth of the
            smoothed hard label)
        lr: peak learning rate; by default the protocol's value for this student
        extra_forward: run each batch through the student a second time in training mode, as the authors' code does;
            this changes BatchNorm's statistics
        compile: train with torch.compile: faster after a minute of warm-up; on the CPU it needs a C++ compiler
        workers: threads that prepare views; by default one per core
        device: device that networks run on: auto, cpu, cuda, cuda:N or mps
    """

    dataset: str
    val: str
    student: str
    protocol: ProtocolName | None = None
    epochs: MaybePositive = None
    seeds: Positive = 3
    controls: tuple[Control, ...] = ("random",)
    looks: Positive = 6
    loss: StudentLoss = "kl"
    lr: MaybePositiveFloat = None
    extra_forward: bool = False
    compile: bool = False
    workers: MaybePositive = None
    device: str = "auto"

    def __post_init__(self) -> None:
        check_fields(self)
        no_secret(dataset=self.dataset, val=self.val)
        if unknown := sorted(set(self.controls) - {"random", "mosaic"}):
            raise InputError(f"controls must be random, mosaic, both (random,mosaic) or none; got {unknown[0]!r}")
