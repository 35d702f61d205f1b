"""Description of a dataset's labels: bytes by column, entropy, and agreement with the classes shown."""

from collections import Counter
from dataclasses import dataclass

import pyarrow.parquet as pq
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from rded_core.io.dataset.images import StoredImages, read_samples, sample_image, stack_images
from rded_core.io.formats.soft_labels import EpochLabels, columns_of
from rded_core.io.labels.stored import StoredLabels
from rded_core.labels.summary import ClassSums, shown_class, sum_by_class
from rded_core.labels.view_subsets import choose_views
from rded_core.labels.views import apply_views, partner_share

MOST_VIEWS = 50_000
"""Most views whose labels are read, in evenly spread epochs."""

NUM_SHOWN = 6
"""Views of one image in the picture, each from a different epoch."""

MIXED_SHARE = 0.05
"""Share of the partner's pixels from which a view counts as mixed."""

GROUPS = {
    "which image": ("epoch", "batch", "position", "key", "class_index"),
    "patch shuffle": ("column_order", "row_order"),
    "crop and flip": ("crop_top", "crop_left", "crop_height", "crop_width", "flip"),
    "mix": ("mix_position", "mix_top", "mix_left", "mix_height", "mix_width", "mix_weight"),
}
"""Columns that are counted together."""

OVERHEAD = "Parquet's own"
HEAD = "teacher_head.parquet"


@dataclass(frozen=True, slots=True)
class LabelDescription:
    """Statistics of a dataset's labels.

    Attributes:
        sums: sums over the views read, by the class that fills most of each.
        plain: the same over unmixed views alone.
        num_views: number of views in all epochs.
        columns: bytes by column or group of columns, the labels' own first; they add up to the size of the files.
    """

    sums: ClassSums
    plain: ClassSums
    num_views: int
    columns: dict[str, int]


@dataclass(frozen=True, slots=True, eq=False)
class ShownView:
    """One view as students see it (uint8 RGB pixels), its logits, and its partner's class and share."""

    epoch: int
    pixels: UInt8[Tensor, "3 s s"]
    logits: Float[Tensor, "k"]
    partner: int | None
    share: float


def describe(labels: StoredLabels) -> LabelDescription:
    """Returns statistics of the labels of about `MOST_VIEWS` views, in whole epochs, and the bytes of all tables.

    Raises:
        InputError: a file is missing or damaged.
    """
    count = min(max(MOST_VIEWS // len(labels.keys), 1), labels.num_epochs)
    epochs = [place * labels.num_epochs // count for place in range(count)]
    summed = [_sum_epoch(labels, labels.read_epoch(epoch)) for epoch in epochs]
    whole, plain = summed[0]
    for others in summed[1:]:
        whole, plain = whole + others[0], plain + others[1]
    return LabelDescription(whole, plain, labels.num_epochs * len(labels.keys), count_bytes(labels))


def _sum_epoch(labels: StoredLabels, epoch: EpochLabels) -> tuple[ClassSums, ClassSums]:
    logits, own = labels.codec.decode(epoch.encoded), labels.class_indices[epoch.rows]
    share = partner_share(epoch.views, int(labels.recipe["size"]))
    classes = shown_class(own, own[epoch.views.mix_position], share)
    is_plain = (share < MIXED_SHARE) | (own == own[epoch.views.mix_position])
    return (
        sum_by_class(logits, classes, temperature=labels.temperature),
        sum_by_class(logits[is_plain], classes[is_plain], temperature=labels.temperature),
    )


def count_bytes(labels: StoredLabels) -> dict[str, int]:
    """Returns the compressed bytes of each column; the rest of the files is counted as Parquet's own."""
    tables, counts = labels.tables(), Counter[str]()
    labels.require_whole(tables)
    for path in tables:
        with pq.ParquetFile(path.absolute()) as opened:
            for number in range(opened.metadata.num_row_groups):
                group = opened.metadata.row_group(number)
                for part in (group.column(column) for column in range(group.num_columns)):
                    counts[part.path_in_schema.partition(".")[0]] += part.total_compressed_size
    own = {name: counts[name] for name in columns_of(labels.codec).names}
    grouped = {kind: sum(counts[name] for name in names) for kind, names in GROUPS.items()}
    rest = sum(path.stat().st_size for path in tables) - sum(own.values()) - sum(grouped.values())
    head = {HEAD: labels.folder.teacher_head.stat().st_size} if labels.codec.name == "features" else {}
    return {**own, **head, **grouped, OVERHEAD: rest}


def show_views(labels: StoredLabels, key: str) -> list[ShownView]:
    """Returns views of one image from evenly spread epochs."""
    count = min(NUM_SHOWN, labels.num_epochs)
    row = labels.keys.index(key)
    return [_show(labels, row, place * labels.num_epochs // count) for place in range(count)]


def _show(labels: StoredLabels, row: int, number: int) -> ShownView:
    epoch, size = labels.read_epoch(number), int(labels.recipe["size"])
    place = (epoch.rows == row).nonzero().flatten()
    needed, views, indices = choose_views(epoch.views, place, size)
    images = _read_rows(labels, epoch.rows[needed].tolist())
    image = apply_views(images.images, views, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))[indices[0]]
    share = float(partner_share(epoch.views, size)[place[0]])
    mixed = int(epoch.rows[epoch.views.mix_position[place[0]]])
    partner = int(labels.class_indices[mixed]) if share > 0 and mixed != row else None
    label = {name: column[place] for name, column in epoch.encoded.items()}
    pixels = (image * 255).round().clamp(0, 255).to(torch.uint8)
    return ShownView(number, pixels, labels.codec.decode(label)[0], partner, share)


def _read_rows(labels: StoredLabels, rows: list[int]) -> StoredImages:
    """Returns the images of some rows, in the order of `rows`."""
    keys = [labels.keys[row] for row in rows]
    samples = read_samples(labels.folder.image_tars())
    by_key = {key: (tar, key, *sample_image(tar, key, files)) for tar, key, files in samples if key in keys}
    return stack_images(by_key[key] for key in keys)
