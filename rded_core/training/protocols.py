"""The protocols by which students are trained and compared."""

from dataclasses import dataclass

from rded_core.errors import InputError

TEMPERATURES = {"cutmix": 20.0, "mixup": 4.0, "none": 20.0}
"""Softmax temperature of the loss by how views are mixed. Source: RDED's code (which has no run without mixing)."""
WEIGHT_DECAY = 0.01
DEFAULT_LEARNING_RATE = 1e-3
LEARNING_RATES = {
    "efficientnet_b0": 2e-3,
    "mobilenet_v2": 2.5e-3,
    "vgg11": 5e-4,
    "vgg11_bn": 5e-4,
    "alexnet": 1e-4,
    "vit_b_16": 1e-4,
    "swin_v2_t": 1e-4,
}
"""AdamW peak learning rate by student, if it is not 1e-3. Source: RDED's scripts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """One way to train a student on a distilled dataset, always with AdamW (0.9, 0.999), weight decay 0.01.

    Attributes:
        name: name as the user writes it.
        lr_stretch: stretch of the cosine; 2 ends at half the peak, 1 at zero.
        fixed_batch: images per step; None for the published sizes by IPC.
        fixed_crop_scale_min: smallest view crop; None for 1 / factor.
        one_hot: whether to use hard labels instead of the stored soft ones, without mixing.
    """

    name: str
    lr_stretch: float
    fixed_batch: int | None
    fixed_crop_scale_min: float | None
    one_hot: bool

    def crop_scale_min(self, factor: int) -> float:
        """Returns the smallest share of an image that a view shows."""
        return 1.0 / factor if self.fixed_crop_scale_min is None else self.fixed_crop_scale_min

    def batch_size(self, *, ipc: int, num_classes: int, num_images: int) -> int:
        """Returns the images per step, never more than the set contains.

        `paper`: 10 below IPC 10, 50 below IPC 50, 100 from there; doubled from 100 classes on.
        """
        if self.fixed_batch is not None:
            return min(self.fixed_batch, num_images)
        base = 10 if ipc < 10 else 50 if ipc < 50 else 100
        return min(base * (2 if num_classes >= 100 else 1), num_images)


PROTOCOLS = {
    "paper": Protocol(name="paper", lr_stretch=2.0, fixed_batch=None, fixed_crop_scale_min=None, one_hot=False),
    "standard": Protocol(name="standard", lr_stretch=1.0, fixed_batch=128, fixed_crop_scale_min=0.08, one_hot=False),
    "hard": Protocol(name="hard", lr_stretch=1.0, fixed_batch=128, fixed_crop_scale_min=0.08, one_hot=True),
}
"""`paper`: RDED's scripts. `standard`: plain cosine, batch 128, crops from 8 %. `hard`: same with one-hot labels."""


def find_protocol(name: str) -> Protocol:
    """Returns the protocol called `name`; raises InputError with the choices if there is none."""
    if name not in PROTOCOLS:
        raise InputError(f"unknown protocol {name!r}; choose from {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def peak_learning_rate(student: str) -> float:
    """Returns the protocols' peak learning rate for a student network."""
    return LEARNING_RATES.get(student, DEFAULT_LEARNING_RATE)
