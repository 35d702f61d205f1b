"""Batches of real images for training and evaluation, decoded on all cores."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rded_core.augmentation import augment_image
from rded_core.crops import fit_centre, normalise
from rded_core.io.images import RejectedImage, decode_image
from rded_core.io.parallel import map_ordered
from rded_core.io.sources import Source, SourceItem, read_item
from rded_core.io.weights import Preprocessing
from rded_core.seeds import counter_generator

logger = logging.getLogger(__name__)

LabelledItem = tuple[SourceItem, int]
"""An image and its class index."""
Batch = tuple[Tensor, Tensor]


def labelled_items(source: Source) -> list[LabelledItem]:
    """Lists every image of a source with its class index, by class, then key."""
    return [(item, index) for index, group in enumerate(source.items) for item in group]


def training_batches(
    source: Source,
    *,
    epoch: int,
    seed: int,
    size: int,
    batch_size: int,
    preprocessing: Preprocessing,
    crop_scale_min: float,
    flip: bool,
    workers: int,
) -> Iterator[tuple[Float[Tensor, "b 3 s s"], Int[Tensor, "b"]]]:
    """Yields one epoch of augmented, normalised batches in an order drawn for it; a last partial batch is dropped."""
    items = labelled_items(source)
    order = torch.randperm(len(items), generator=counter_generator(seed, "order", epoch)).tolist()

    def prepare(entry: LabelledItem) -> tuple[Tensor, int]:
        generator = counter_generator(seed, "augment", epoch, entry[0].key)
        image = decode_image(read_item(entry[0]))
        return augment_image(image, size, generator, crop_scale_min=crop_scale_min, flip=flip), entry[1]

    prepared = _skip_rejected(prepare, [items[place] for place in order], workers=workers)
    yield from _collate(prepared, batch_size, preprocessing, drop_last=len(items) >= batch_size)


def evaluation_batches(
    items: list[LabelledItem], *, size: int, preprocessing: Preprocessing, workers: int, batch_size: int = 100
) -> Iterator[tuple[Float[Tensor, "b 3 s s"], Int[Tensor, "b"]]]:
    """Yields normalised batches of centre crops, every item once, in the order given.

    The short side is resized to size // 7 * 8 first, the field's evaluation transform (256 for 224, 32 for 32).
    Source: RDED's validation code; torchvision's Resize and CenterCrop.
    """
    prepared = _skip_rejected(lambda entry: (fit_view(read_item(entry[0]), size), entry[1]), items, workers=workers)
    yield from _collate(prepared, batch_size, preprocessing, drop_last=False)


def fit_view(data: bytes, size: int, *, interpolation: str = "bilinear") -> Float[Tensor, "3 s s"]:
    """Decodes one image and makes its evaluation view: float RGB 0..1."""
    mode = "bicubic" if interpolation == "bicubic" else "bilinear"
    return fit_centre(decode_image(data), size, resize_px=max(size // 7 * 8, size), mode=mode)


def _skip_rejected(
    prepare: Callable[[LabelledItem], tuple[Tensor, int]], entries: list[LabelledItem], *, workers: int
) -> Iterator[tuple[Tensor, int]]:
    """Yields what `prepare` makes of each entry; rejected images are counted by reason and logged once at the end."""
    rejected: Counter[str] = Counter()

    def attempt(entry: LabelledItem) -> tuple[Tensor, int] | str:
        try:
            return prepare(entry)
        except RejectedImage as error:
            return error.reason

    for outcome in map_ordered(attempt, entries, workers=workers):
        if isinstance(outcome, str):
            rejected[outcome] += 1
        else:
            yield outcome
    if rejected:
        logger.warning("left out %s", ", ".join(f"{count} {reason}" for reason, count in sorted(rejected.items())))


def _collate(
    samples: Iterator[tuple[Tensor, int]], batch_size: int, preprocessing: Preprocessing, *, drop_last: bool
) -> Iterator[Batch]:
    images: list[Tensor] = []
    targets: list[int] = []
    for image, target in samples:
        images.append(image)
        targets.append(target)
        if len(images) == batch_size:
            yield _to_batch(images, targets, preprocessing)
            images, targets = [], []
    if images and not drop_last:
        yield _to_batch(images, targets, preprocessing)


def _to_batch(images: list[Tensor], targets: list[int], preprocessing: Preprocessing) -> Batch:
    batch = normalise(torch.stack(images), preprocessing.mean, preprocessing.std)
    return batch.contiguous(memory_format=torch.channels_last), torch.tensor(targets)
