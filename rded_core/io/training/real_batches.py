"""Batches of real images for training and evaluation, decoded on all cores."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rded_core.errors import InputError
from rded_core.io.device.uploads import upload
from rded_core.io.formats.images import RejectedImage, decode_image
from rded_core.io.parallel import map_ordered
from rded_core.io.sources.base import Source, SourceItem
from rded_core.io.sources.reading import Reader, read_item
from rded_core.labels.views import normalise_levels
from rded_core.networks.preprocessing import Preprocessing
from rded_core.patches.crops import fit_centre, normalise
from rded_core.seeds import counter_generator
from rded_core.text.summaries import describe_rejected
from rded_core.text.wording import counted
from rded_core.training.augmentation import augment_image

logger = logging.getLogger(__name__)

KEPT_BYTES = 2**30
"""Evaluation views up to this size are kept: 7 000 photographs of 224 px, or 350 000 of 32 px."""

LabelledItem = tuple[SourceItem, int]
"""An image and its class index."""
Batch = tuple[Tensor, Tensor]


def labelled_items(source: Source) -> list[LabelledItem]:
    """Returns every image of a source with its class index, by class, then key."""
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
    read: Reader = read_item,
) -> Iterator[tuple[Float[Tensor, "b 3 s s"], Int[Tensor, "b"]]]:
    """Yields one epoch of augmented, normalised batches in an order drawn for it; drops a last partial batch.

    `read` is the block's form of `read_together` if the source may be a table: in a drawn order, nearly every row is in
    another row group than the last.

    Raises:
        InputError: none of a class's images can be used, which is known at the end of the epoch.
    """
    items = labelled_items(source)
    order = torch.randperm(len(items), generator=counter_generator(seed, "order", epoch)).tolist()

    def prepare(entry: LabelledItem) -> tuple[Tensor, int]:
        generator = counter_generator(seed, "augment", epoch, entry[0].key)
        image = decode_image(read(entry[0]))
        return augment_image(image, size, generator, crop_scale_min=crop_scale_min, flip=flip), entry[1]

    folders = [label.folder for label in source.classes]
    prepared = _skip_rejected(prepare, [items[place] for place in order], workers=workers, folders=folders)
    for images, targets in _collate(prepared, batch_size, drop_last=len(items) >= batch_size):
        batch = normalise(images, preprocessing.mean, preprocessing.std)
        yield batch.contiguous(memory_format=torch.channels_last), targets


class EvaluationViews:
    """Evaluation views of images: decoded on first use and kept for the next one if they fit in memory.

    The short side is first resized to size // 7 * 8, the field's evaluation transform (256 for 224, 32 for 32), and
    views are rounded to 8 bits like the field's, kept or not, so that keeping them changes no accuracy.
    Source: RDED's validation code; torchvision's Resize and CenterCrop of PIL images.

    Args:
        items: images and their class indices, evaluated in this order; rows of tables in the order they are stored in.
        size: side of a view in pixels.
        workers: threads that decode.
        kept_bytes: maximum size of views that are kept; larger sets are decoded again on each use.
    """

    def __init__(self, items: list[LabelledItem], *, size: int, workers: int, kept_bytes: int = KEPT_BYTES) -> None:
        self.items, self.size, self.workers = sorted(items, key=_stored_place), size, workers
        self.fits = len(items) * 3 * size * size <= kept_bytes
        self._kept: Batch | None = None

    def batches(
        self, preprocessing: Preprocessing, device: torch.device, *, batch_size: int = 100
    ) -> Iterator[tuple[Float[Tensor, "b 3 s s"], Int[Tensor, "b"]]]:
        """Yields normalised batches on a device, every usable image once, in order."""
        if self.fits and self._kept is None:
            self._kept = self._decode_all(device)
        batches = (
            _split(self._kept, batch_size) if self._kept else _collate(self._decode(), batch_size, drop_last=False)
        )
        for images, targets in batches:
            views = normalise_levels(upload(images, device).float(), preprocessing.mean, preprocessing.std)
            yield views.contiguous(memory_format=torch.channels_last), upload(targets, device)

    def _decode(self) -> Iterator[tuple[Tensor, int]]:
        """Yields uint8 views and class indices; rejected images are skipped."""

        def fit(entry: LabelledItem) -> tuple[Tensor, int]:
            return fit_view(read_item(entry[0]), self.size).mul(255.0).round().to(torch.uint8), entry[1]

        return _skip_rejected(fit, self.items, workers=self.workers)

    def _decode_all(self, device: torch.device) -> Batch | None:
        images = torch.empty(len(self.items), 3, self.size, self.size, dtype=torch.uint8)
        targets: list[int] = []
        for image, target in self._decode():
            images[len(targets)] = image
            targets.append(target)
        return images[: len(targets)].to(device), torch.tensor(targets, dtype=torch.int64)


def _stored_place(entry: LabelledItem) -> tuple[str, int]:
    """Sorts rows of tables so that each row group is read once, and leaves other images in their order."""
    item, _ = entry
    return (item.path, item.offset) if item.path.endswith(".parquet") else ("", 0)


def fit_view(data: bytes, size: int, *, interpolation: str = "bilinear") -> Float[Tensor, "3 s s"]:
    """Returns the evaluation view of an encoded image: float RGB 0..1."""
    mode = "bicubic" if interpolation == "bicubic" else "bilinear"
    return fit_centre(decode_image(data), size, resize_px=max(size // 7 * 8, size), mode=mode)


def _skip_rejected(
    prepare: Callable[[LabelledItem], tuple[Tensor, int]],
    entries: list[LabelledItem],
    *,
    workers: int,
    folders: Sequence[str] = (),
) -> Iterator[tuple[Tensor, int]]:
    """Yields ``prepare(entry)`` for each entry; rejected images are counted by reason and logged once at the end.

    A class that loses all its images is then an error if the `folders` of the classes are given, else a warning.
    """
    rejected: Counter[str] = Counter()
    kept: set[int] = set()

    def attempt(entry: LabelledItem) -> tuple[Tensor, int] | str:
        try:
            return prepare(entry)
        except RejectedImage as error:
            return error.reason

    for outcome in map_ordered(attempt, entries, workers=workers):
        if isinstance(outcome, str):
            rejected[outcome] += 1
        else:
            kept.add(outcome[1])
            yield outcome
    lost = sorted({index for _, index in entries} - kept)
    reasons = describe_rejected(rejected)
    if lost and folders:
        raise InputError(
            f"no image of class {folders[lost[0]]!r} can be used (of the source: {reasons}); replace its images, or "
            "leave the class out with --classes"
        )
    if rejected:
        none_left = f"; none is left of {counted(len(lost), 'class')}" if lost else ""
        logger.warning("skipped rejected images: %s%s", reasons, none_left)


def _split(views: Batch, batch_size: int) -> Iterator[Batch]:
    images, targets = views
    yield from zip(images.split(batch_size), targets.split(batch_size), strict=True) if len(targets) else ()


def _collate(samples: Iterator[tuple[Tensor, int]], batch_size: int, *, drop_last: bool) -> Iterator[Batch]:
    images: list[Tensor] = []
    targets: list[int] = []
    for image, target in samples:
        images.append(image)
        targets.append(target)
        if len(images) == batch_size:
            yield torch.stack(images), torch.tensor(targets)
            images, targets = [], []
    if images and not drop_last:
        yield torch.stack(images), torch.tensor(targets)
