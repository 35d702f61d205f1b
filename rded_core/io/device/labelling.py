"""Labelling on a device: images on the teacher's device, and forward passes as large as its memory holds."""

import logging
from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from rded_core.io.device.memory import ELSEWHERE, FittingPasses
from rded_core.io.device.uploads import keep_on_device, take_rows, upload_views
from rded_core.labels.batches import classify_in_passes, pack_batches
from rded_core.labels.views import Views, apply_views, join_views

logger = logging.getLogger(__name__)

Batch = tuple[Tensor, Views]
"""Image rows of a batch, and their views."""


class TeacherPasses:
    """Images to label, and the size of the passes that label them, for as long as the images stay the same.

    If the device's memory is full, the images are first moved off it, if they were kept there; that changes no
    numbers. Then the rows of a pass are halved (rounded up), down to one, and recorded batches that shared a pass get
    their views separately. The views stay the same; the logits come from passes of a different shape, in which a
    network may sum in a different order, so that their last bits may differ before they are rounded to float16.

    Args:
        images: all images to label.
        device: the teacher's.
    """

    def __init__(self, images: UInt8[Tensor, "n 3 s s"], device: torch.device) -> None:
        self.device = device
        self.images = keep_on_device(images, device)
        self.is_kept = self.images.device.type == device.type
        note = "; logits may differ in their last bits from here on"
        remedy = f"{ELSEWHERE}, or a smaller --teacher"
        self.passes = FittingPasses(device, stage="labelling", unit="row", remedy=remedy, note=note)

    def label(
        self,
        network: Callable[[Tensor], Tensor],
        batches: Sequence[Batch],
        rows: int,
        *,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
    ) -> Float[Tensor, "b k"]:
        """Returns a network's logits of all views of some batches, in passes of `rows` rows if they fit.

        Raises:
            InputError: a pass of one row does not fit.
        """

        def work(fitting: int) -> Tensor:
            groups = pack_batches([len(chosen) for chosen, _ in batches], fitting)
            parts = [batches[group.start : group.stop] for group in groups]
            return torch.cat([classify_in_passes(network, show(part), fitting) for part in parts])

        show = partial(self._show, mean=mean, std=std)
        with torch.inference_mode():
            return self.passes.run(work, rows, drop=self._leave_device)

    def _show(
        self, batches: Sequence[Batch], *, mean: tuple[float, float, float], std: tuple[float, float, float]
    ) -> Tensor:
        """Returns the joined views of some batches; partners stay within their own batch."""
        images = take_rows(self.images, torch.cat([chosen for chosen, _ in batches]), self.device)
        views = upload_views(join_views([views for _, views in batches]), self.device)
        return apply_views(images, views, mean=mean, std=std)

    def _leave_device(self) -> bool:
        """Moves the images off the device; returns False if they were not kept there."""
        if not self.is_kept:
            return False
        logger.warning("the memory of %s is full; moving the images to label off it", self.device)
        self.images, self.is_kept = self.images.cpu(), False
        return True
