"""Decodes candidates for a device: a few of one class at a time, on all cores, into memory that is ready to send."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from rded_core.io.device.jpegs import decode_jpegs
from rded_core.io.formats.images import RejectedImage
from rded_core.patches.crops import cut_patches

Row = TypeVar("Row")
Load = Callable[[Row], tuple[Tensor | bytes, Tensor]]
"""Loads a candidate's row: its uint8 RGB image (3 h w), or a JPEG for the device to decode, and its boxes (m 4)."""

DECODED_TOGETHER = 8
"""Candidates that one job decodes and sends together."""

NOTHING = torch.empty(0)

MAX_SIDE_PX = 640
"""Images with a longer side are cut on the CPU: the matrix that cuts on the device grows with the whole side."""


@dataclass(frozen=True, slots=True)
class Job(Generic[Row]):
    """Candidates of one class that are decoded together; `is_last` marks the last job of the class."""

    class_index: int
    rows: list[Row]
    is_last: bool


@dataclass(frozen=True, slots=True)
class Packed(Generic[Row]):
    """A job's decoded candidates.

    Attributes:
        job: the job itself.
        rows: those that decode.
        images: c h w 3, uint8, each image in the upper left corner.
        boxes: c m 4.
        large: patches (m 3 p p) of images too large to send, by position.
        refused: the other rows, with the reasons.
    """

    job: Job[Row]
    rows: list[Row]
    images: Tensor
    boxes: Tensor
    large: dict[int, Tensor]
    refused: list[tuple[Row, RejectedImage]]


def list_jobs(classes: Iterable[tuple[int, list[Row]]]) -> Iterator[Job[Row]]:
    """Yields the jobs of each class, in order; a class without candidates gets one empty job."""
    for index, rows in classes:
        for start in range(0, max(len(rows), 1), DECODED_TOGETHER):
            stop = start + DECODED_TOGETHER
            yield Job(index, rows[start:stop], stop >= len(rows))


def pack(load: Load[Row], device: torch.device, patch_px: int, job: Job[Row]) -> Packed[Row]:
    """Returns a job's candidates, decoded into memory that can be sent while the next ones are decoded."""
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
    origin = loaded[0][0].device
    pinned = device.type == "cuda" and origin.type == "cpu"
    images = torch.zeros(len(rows), height, width, 3, dtype=torch.uint8, device=origin, pin_memory=pinned)
    for place, (image, _) in enumerate(loaded):
        if place not in large:
            images[place, : image.shape[1], : image.shape[2]] = image.permute(1, 2, 0)
    return Packed(job, rows, images, torch.stack([boxes for _, boxes in loaded]), large, refused)


def _load_all(
    load: Load[Row], device: torch.device, rows: list[Row]
) -> tuple[list[Row], list[tuple[Tensor, Tensor]], list[tuple[Row, RejectedImage]]]:
    """Returns the rows that decode, their images (on one device) and boxes, and the other rows with the reasons."""
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
    for place, (row, data, boxes) in enumerate(opened):
        image = decoded[place] if isinstance(data, bytes) else data.to(device) if decoded else data
        if isinstance(image, RejectedImage):
            refused.append((row, image))
        else:
            kept.append(row)
            loaded.append((image, boxes))
    return kept, loaded, refused
