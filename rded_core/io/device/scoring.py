"""Scoring on a device: images are decoded on all cores, sent over as bytes, then cut and scored on the device.

The CPU reads, decodes and draws boxes ahead of the device, class after class; the device turns whole images into
patches (`crop_batches`), scores them in bfloat16 or float32 in forward passes of one fixed shape, and computes again in
float32 the scores that decide the selection (`class_scores`). If a device's memory is full, passes are halved and the
class is scored again (`memory`).
"""

import logging
from collections import deque
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic

import torch
from torch import Tensor, nn

from rded_core.io.device.decoding import DECODED_TOGETHER, NOTHING, Load, Packed, Row, list_jobs, pack
from rded_core.io.device.graphs import FixedShape
from rded_core.io.device.memory import ELSEWHERE, FittingPasses
from rded_core.io.device.uploads import upload
from rded_core.io.formats.images import RejectedImage
from rded_core.io.parallel import map_ordered
from rded_core.networks.canvas import CanvasNetwork
from rded_core.networks.preprocessing import Preprocessing
from rded_core.patches.class_scores import ClassScores, Network
from rded_core.patches.crop_batches import cut_patch_batches

logger = logging.getLogger(__name__)

CANDIDATES_PER_PASS = 64
"""Candidates of a forward pass if the memory holds them; a class's last pass is padded."""

EXACT_PATCHES = 64
"""Patches of a float32 pass over the deciding scores; fewer only if a forward pass has fewer."""

REMEDY = f"{ELSEWHERE}, or a smaller --size or --num-crops"


@dataclass(frozen=True, slots=True)
class ScoredClass(Generic[Row]):
    """One class: rows that decode, with boxes (n m 4) and scores (n m); the other rows, with the reasons."""

    class_index: int
    rows: list[Row]
    boxes: Tensor
    scores: Tensor
    refused: list[tuple[Row, RejectedImage]]


class DeviceScorer:
    """The observer on one device, in its fast and its exact form.

    If the device's memory is full, the candidates of a pass are halved, down to one, both forms are recorded again and
    the current class is scored again from its start; later classes keep the smaller passes. The patches are the same.
    A network may sum in a different order in a batch of a different shape, so that float32 scores may differ in their
    last bits (they do not if the network computes row by row). With two passes the float32 pass still decides, and it
    keeps its shape until a fast pass has fewer patches.

    Args:
        network: in eval mode, float32, on its device.
        preprocessing: the network's own.
        patch_px: side of a patch.
        size: side of the canvas.
        num_crops: of each candidate.
        num_chosen: patches that will be selected per class.
        dtype: of the fast pass; float32 makes it the only pass.
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
        self.preprocessing, self.patch_px = preprocessing, patch_px
        self.num_crops, self.num_chosen = num_crops, num_chosen
        self.device = next(network.parameters()).device
        plain = CanvasNetwork(network, patch_px=patch_px, size=size)
        rounded = plain if dtype == torch.float32 else CanvasNetwork(network, patch_px=patch_px, size=size, dtype=dtype)
        self.shortcut = plain.shortcut
        self.unrecorded: tuple[Network, Network] = (rounded, plain)
        self.passes = FittingPasses(self.device, stage="scoring", unit="candidate", remedy=REMEDY)
        self._forget()
        self.passes.run(self._record, CANDIDATES_PER_PASS, drop=self._forget)

    def score(
        self, classes: Iterable[tuple[int, list[Row]]], load: Load[Row], *, workers: int
    ) -> Iterator[ScoredClass[Row]]:
        """Yields each class scored, in the given order.

        Args:
            classes: class index and candidates.
            load: reads and decodes one candidate and draws its boxes; called in threads; raises RejectedImage.
            workers: threads that load.
        """
        queue = deque(classes)
        stream: Iterator[ScoredClass[Row]] | None = None

        def take(candidates: int) -> ScoredClass[Row]:
            nonlocal stream
            self._record(candidates)
            stream = stream or self._stream(list(queue), load, workers)
            return next(stream)

        def drop() -> bool:
            nonlocal stream
            stream = None  # drops the images decoded ahead
            return self._forget()

        while queue:
            yield self.passes.run(take, CANDIDATES_PER_PASS, drop=drop)
            queue.popleft()

    def _stream(
        self, classes: list[tuple[int, list[Row]]], load: Load[Row], workers: int
    ) -> Iterator[ScoredClass[Row]]:
        """Yields each class scored, in passes of the recorded size; decodes ahead across the ends of classes."""
        parts: list[Packed[Row]] = []
        waiting: list[Tensor] = []
        class_scores: ClassScores | None = None
        for packed in map_ordered(partial(pack, load, self.device, self.patch_px), list_jobs(classes), workers=workers):
            parts.append(replace(packed, images=NOTHING, large={}))  # a class's pixels are not kept
            class_scores = class_scores or self._begin(packed.job.class_index)
            if packed.rows:
                waiting.append(self._cut(packed))
            if waiting and (packed.job.is_last or sum(map(len, waiting)) > self.candidates - DECODED_TOGETHER):
                _add(class_scores, torch.cat(waiting), self.candidates)
                waiting = []
            if packed.job.is_last:
                yield self._finish(class_scores, parts, load, workers)
                class_scores, parts = None, []

    def _record(self, candidates: int) -> None:
        """Records both forms for passes of this many candidates, unless that is done."""
        if self.candidates == candidates:
            return
        rounded, plain = self.unrecorded
        self.exact_patches = min(EXACT_PATCHES, candidates * self.num_crops)
        self.fast = self._fix(rounded, candidates * self.num_crops)
        self.exact = None if rounded is plain else self._fix(plain, self.exact_patches)
        self.candidates = candidates

    def _forget(self) -> bool:
        """Drops the recordings, and with them their memory."""
        self.candidates, self.exact_patches = 0, 0
        self.fast: Network = self.unrecorded[0]
        self.exact: Network | None = None
        return False

    def _fix(self, network: Network, num_patches: int) -> Network:
        """Records a network for one number of patches; one that torch.fx cannot trace may branch and stays as it is."""
        if not self.shortcut:
            return network
        return FixedShape(network, torch.zeros(num_patches, 3, self.patch_px, self.patch_px, device=self.device))

    def _begin(self, class_index: int) -> ClassScores:
        exact_batch = self.exact_patches
        return ClassScores(class_index, self.fast, self.exact, exact_batch=exact_batch, num_chosen=self.num_chosen)

    def _cut(self, packed: Packed[Row]) -> Tensor:
        """Sends a job's images over and returns their normalised patches, c m 3 p p."""
        with torch.inference_mode():
            images = packed.images.to(self.device, non_blocking=True)
            patches = cut_patch_batches(images, upload(packed.boxes, self.device), self.patch_px)
            for place, cut in packed.large.items():
                patches[place] = upload(cut, self.device)
            style = self.preprocessing
            # Plain numbers, since tensors of means and deviations would be sent over, and waited for, each time.
            for channel, (mean, std) in enumerate(zip(style.mean, style.std, strict=True)):
                patches[:, :, channel].sub_(mean).div_(std)
            return patches

    def _finish(
        self, class_scores: ClassScores, parts: list[Packed[Row]], load: Load[Row], workers: int
    ) -> ScoredClass[Row]:
        index = class_scores.class_index
        rows = [row for part in parts for row in part.rows]
        refused = [entry for part in parts for entry in part.refused]
        if not rows:
            return ScoredClass(index, [], torch.empty(0, 0, 4), torch.empty(0, 0), refused)
        scores = class_scores.finish()
        if scores is None:
            logger.warning("class %d: the fast scores are far off; computing all of them in float32", index)
            exact = next(self._exactly()._stream([(index, rows)], load, workers))
            return ScoredClass(index, exact.rows, exact.boxes, exact.scores, refused + exact.refused)
        return ScoredClass(index, rows, torch.cat([part.boxes for part in parts if part.rows]), scores.cpu(), refused)

    def _exactly(self) -> "DeviceScorer":
        """Returns a copy of the scorer without its fast pass."""
        scorer = copy(self)
        scorer.fast, scorer.exact = self.unrecorded[1], None
        return scorer


def _add(class_scores: ClassScores, patches: Tensor, candidates: int) -> None:
    """Scores patches in passes of this many candidates, each padded to the fixed shape."""
    for part in patches.split(candidates):
        missing = candidates - len(part)
        padded = torch.cat([part, part[:1].expand(missing, -1, -1, -1, -1)]) if missing else part
        class_scores.add(padded, len(part))
