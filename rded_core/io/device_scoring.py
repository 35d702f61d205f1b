"""Scoring on a device of its own: images are decoded on all cores, sent over as bytes, cut and scored over there.

The CPU reads, decodes and draws boxes ahead of the device, class after class; the device turns whole images into
patches (`crop_batches`), scores them in bfloat16 or float32 in forward passes of one fixed shape, and computes again in
float32 what decides the selection (`class_scores`).
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from rded_core.canvas import CanvasNetwork
from rded_core.class_scores import ClassScores, Network
from rded_core.crop_batches import cut_patch_batches
from rded_core.crops import cut_patches
from rded_core.io.device_jpegs import decode_jpegs
from rded_core.io.fixed_shapes import FixedShape
from rded_core.io.images import RejectedImage
from rded_core.io.parallel import map_ordered
from rded_core.io.uploads import upload
from rded_core.io.weights import Preprocessing

logger = logging.getLogger(__name__)

Row = TypeVar("Row")
Load = Callable[[Row], tuple[Tensor | bytes, Tensor]]
"""A candidate's row to its uint8 RGB image (3 h w), or a JPEG that the device is to decode, and its boxes (m 4)."""

DECODED_TOGETHER = 8
"""Candidates that one job decodes and that travel together."""

CANDIDATES_PER_PASS = 64
"""Candidates of a forward pass, a multiple of DECODED_TOGETHER; a class's last is filled up."""

EXACT_PATCHES = 64
"""Patches of a float32 pass over what decides."""

NOTHING = torch.empty(0)

MAX_SIDE_PX = 640
"""Images with a longer side are cut on the CPU: the matrix that cuts on the device grows with the whole side."""


@dataclass(frozen=True, slots=True)
class Job(Generic[Row]):
    """Candidates of one class that are decoded together; `is_last` where no more of the class follow."""

    class_index: int
    rows: list[Row]
    is_last: bool


@dataclass(frozen=True, slots=True)
class Packed(Generic[Row]):
    """A job's decoded candidates.

    Attributes:
        job: what it was.
        rows: those that decode.
        images: c h w 3, uint8, each in its upper left corner.
        boxes: c m 4.
        large: patches (m 3 p p) of images too large to send, by position.
        refused: the other rows, with reasons.
    """

    job: Job[Row]
    rows: list[Row]
    images: Tensor
    boxes: Tensor
    large: dict[int, Tensor]
    refused: list[tuple[Row, RejectedImage]]


@dataclass(frozen=True, slots=True)
class ScoredClass(Generic[Row]):
    """One class: rows that decode with their boxes (n m 4) and scores (n m), the others with reasons."""

    class_index: int
    rows: list[Row]
    boxes: Tensor
    scores: Tensor
    refused: list[tuple[Row, RejectedImage]]


class DeviceScorer:
    """The observer on one device, in its fast and its exact form.

    Args:
        network: in eval mode, float32, on its device.
        preprocessing: its own.
        patch_px: side of a patch.
        size: side of the canvas.
        num_crops: of each candidate.
        num_chosen: patches that will be selected of a class.
        dtype: of the fast pass; with float32 there is no other.
    """

    def __init__(
        self,
        network: nn.Module,
        preprocessing: Preprocessing,
        *,
        patch_px: int,
        size: int,
        num_crops: int,
        num_chosen: int,
        dtype: torch.dtype,
    ) -> None:
        self.preprocessing, self.patch_px, self.num_chosen = preprocessing, patch_px, num_chosen
        self.device = next(network.parameters()).device
        plain = CanvasNetwork(network, patch_px=patch_px, size=size)
        rounded = plain if dtype == torch.float32 else CanvasNetwork(network, patch_px=patch_px, size=size, dtype=dtype)
        self.shortcut = plain.shortcut
        self.fast = self._fix(rounded, CANDIDATES_PER_PASS * num_crops)
        self.exact = None if dtype == torch.float32 else self._fix(plain, EXACT_PATCHES)
        self.unrecorded: Network = plain

    def score(
        self, classes: Iterable[tuple[int, list[Row]]], load: Load[Row], *, workers: int
    ) -> Iterator[ScoredClass[Row]]:
        """Yields each class scored, in the order given.

        Args:
            classes: class index and candidates.
            load: reads, decodes and draws the boxes of one; called in threads; raises RejectedImage.
            workers: threads that load.
        """
        parts: list[Packed[Row]] = []
        waiting: list[Tensor] = []
        found: ClassScores | None = None
        for packed in map_ordered(partial(pack, load, self.device, self.patch_px), _jobs(classes), workers=workers):
            parts.append(replace(packed, images=NOTHING, large={}))  # a class's pixels are not kept
            found = found or self._begin(packed.job.class_index)
            if packed.rows:
                waiting.append(self._cut(packed))
            if waiting and (packed.job.is_last or sum(map(len, waiting)) > CANDIDATES_PER_PASS - DECODED_TOGETHER):
                _add(found, torch.cat(waiting))
                waiting = []
            if packed.job.is_last:
                yield self._finish(found, parts, load, workers)
                found, parts = None, []

    def _fix(self, network: Network, num_patches: int) -> Network:
        """Records a network for one number of patches; one that torch.fx cannot follow may branch, and is called."""
        if not self.shortcut:
            return network
        return FixedShape(network, torch.zeros(num_patches, 3, self.patch_px, self.patch_px, device=self.device))

    def _begin(self, class_index: int) -> ClassScores:
        return ClassScores(class_index, self.fast, self.exact, exact_batch=EXACT_PATCHES, num_chosen=self.num_chosen)

    def _cut(self, packed: Packed[Row]) -> Tensor:
        """Sends a job's images over and returns their normalised patches, c m 3 p p."""
        with torch.inference_mode():
            images = packed.images.to(self.device, non_blocking=True)
            patches = cut_patch_batches(images, upload(packed.boxes, self.device), self.patch_px)
            for place, cut in packed.large.items():
                patches[place] = upload(cut, self.device)
            given = self.preprocessing
            # With plain numbers: tensors of means and deviations would be sent over, and waited for, each time.
            for channel, (mean, std) in enumerate(zip(given.mean, given.std, strict=True)):
                patches[:, :, channel].sub_(mean).div_(std)
            return patches

    def _finish(self, found: ClassScores, parts: list[Packed[Row]], load: Load[Row], workers: int) -> ScoredClass[Row]:
        index = found.class_index
        rows = [row for part in parts for row in part.rows]
        refused = [entry for part in parts for entry in part.refused]
        if not rows:
            return ScoredClass(index, [], torch.empty(0, 0, 4), torch.empty(0, 0), refused)
        scores = found.finish()
        if scores is None:
            logger.warning("class %d: the fast scores are far off, so all are computed in float32", index)
            again = next(self._exactly().score([(index, rows)], load, workers=workers))
            return ScoredClass(index, again.rows, again.boxes, again.scores, refused + again.refused)
        return ScoredClass(index, rows, torch.cat([part.boxes for part in parts if part.rows]), scores.cpu(), refused)

    def _exactly(self) -> "DeviceScorer":
        """Returns the scorer without its fast pass."""
        scorer = copy(self)
        scorer.fast, scorer.exact = self.unrecorded, None
        return scorer


def _jobs(classes: Iterable[tuple[int, list[Row]]]) -> Iterator[Job[Row]]:
    for index, rows in classes:
        for start in range(0, max(len(rows), 1), DECODED_TOGETHER):
            stop = start + DECODED_TOGETHER
            yield Job(index, rows[start:stop], stop >= len(rows))


def pack(load: Load[Row], device: torch.device, patch_px: int, job: Job[Row]) -> Packed[Row]:
    """Decodes a job's candidates into memory that can be sent while the next are decoded."""
    rows, loaded, refused = _load_all(load, device, job.rows)
    if not rows:
        return Packed(job, rows, NOTHING, NOTHING, {}, refused)
    large = {
        place: cut_patches(image, boxes, patch_px)
        for place, (image, boxes) in enumerate(loaded)
        if max(image.shape[1:]) > MAX_SIDE_PX
    }
    sent = [image for place, (image, _) in enumerate(loaded) if place not in large]
    height, width = (max((image.shape[side] for image in sent), default=1) for side in (1, 2))
    there = loaded[0][0].device
    pinned = device.type == "cuda" and there.type == "cpu"
    images = torch.zeros(len(rows), height, width, 3, dtype=torch.uint8, device=there, pin_memory=pinned)
    for place, (image, _) in enumerate(loaded):
        if place not in large:
            images[place, : image.shape[1], : image.shape[2]] = image.permute(1, 2, 0)
    return Packed(job, rows, images, torch.stack([boxes for _, boxes in loaded]), large, refused)


def _load_all(
    load: Load[Row], device: torch.device, rows: list[Row]
) -> tuple[list[Row], list[tuple[Tensor, Tensor]], list[tuple[Row, RejectedImage]]]:
    """Returns the rows that decode, their images (on one device) and boxes, and the other rows with reasons."""
    refused: list[tuple[Row, RejectedImage]] = []
    opened: list[tuple[Row, Tensor | bytes, Tensor]] = []
    for row in rows:
        try:
            opened.append((row, *load(row)))
        except RejectedImage as error:
            refused.append((row, error))
    encoded = {place: image for place, (_, image, _) in enumerate(opened) if isinstance(image, bytes)}
    decoded = dict(zip(encoded, decode_jpegs(list(encoded.values()), device), strict=True)) if encoded else {}
    kept: list[Row] = []
    loaded: list[tuple[Tensor, Tensor]] = []
    for place, (row, given, boxes) in enumerate(opened):
        image = decoded[place] if isinstance(given, bytes) else given.to(device) if decoded else given
        if isinstance(image, RejectedImage):
            refused.append((row, image))
        else:
            kept.append(row)
            loaded.append((image, boxes))
    return kept, loaded, refused


def _add(found: ClassScores, patches: Tensor) -> None:
    """Scores the patches of up to CANDIDATES_PER_PASS candidates in one pass, filled up to its fixed shape."""
    missing = CANDIDATES_PER_PASS - len(patches)
    filled = torch.cat([patches, patches[:1].expand(missing, -1, -1, -1, -1)]) if missing else patches
    found.add(filled, len(patches))
