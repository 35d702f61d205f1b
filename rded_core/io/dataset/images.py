"""Reads distilled images from their shards."""

import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from rded_core.errors import InputError
from rded_core.io.formats.images import RejectedImage, decode_image
from rded_core.io.formats.shards import Sample, read_shard
from rded_core.io.layout.dataset import REMEDY
from rded_core.io.layout.units import image_key
from rded_core.io.sources.base import SourceClass
from rded_core.io.storage.stand_ins import reason_or_pointer


@dataclass(frozen=True, slots=True)
class StoredImages:
    """The distilled images as stored, decoded from their files.

    Attributes:
        keys: in the dataset's order (by class, then number).
        images: uint8 RGB.
        class_indices: the class of each.
    """

    keys: list[str]
    images: UInt8[Tensor, "n 3 s s"]
    class_indices: Int[Tensor, "n"]


def read_images(tars: list[Path], *, max_class: int | None = None) -> StoredImages:
    """Returns all images of the shards, decoded, in shard order, or only those of the first `max_class` classes.

    Raises:
        InputError: a shard or an image is damaged, or the images differ in size.
    """
    entries = ((tar, key, *sample_image(tar, key, files)) for tar, key, files in read_samples(tars))
    return stack_images(entry for entry in entries if max_class is None or entry[2] < max_class)


def sample_image(tar: Path, key: str, files: dict[str, bytes]) -> tuple[int, bytes]:
    """Returns a sample's class index and its encoded image."""
    try:
        return int(files["cls"]), next(data for name, data in files.items() if name not in ("cls", "json"))
    except (KeyError, ValueError, StopIteration) as error:
        raise InputError(f"{tar} is damaged ({key} lacks its image or class); {REMEDY}") from error


def stack_images(entries: Iterable[tuple[Path, str, int, bytes]]) -> StoredImages:
    """Returns images decoded, each given with its file, key and class index."""
    keys: list[str] = []
    images: list[Tensor] = []
    classes: list[int] = []
    for tar, key, index, data in entries:
        try:
            images.append(decode_image(data))
        except RejectedImage as error:
            raise InputError(f"{tar} is damaged ({key}: {error}); {REMEDY}") from error
        if images[-1].shape != images[0].shape:
            raise InputError(f"{tar} is damaged ({key} differs in size from the other images); {REMEDY}")
        keys.append(key)
        classes.append(index)
    if not images:
        raise InputError(f"the dataset holds no images; {REMEDY}")
    return StoredImages(keys, torch.stack(images).contiguous(), torch.tensor(classes))


def read_samples(tars: Iterable[Path]) -> Iterator[tuple[Path, str, dict[str, bytes]]]:
    """Yields tar, key and files of every sample; raises InputError if a tar is missing or damaged."""
    for tar in tars:
        try:
            for key, files in read_shard(tar):
                yield tar, key, files
        except (OSError, tarfile.TarError) as error:
            raise InputError(f"{tar} is damaged: {reason_or_pointer(tar, error, REMEDY)}") from error


def read_class_images(tars: Mapping[int, Path]) -> StoredImages:
    """Returns all images, decoded, of the tars that a run keeps for single classes, by class index.

    Raises:
        InputError: as `read_images`.
    """
    return stack_images(
        (tar, image_key(index, number), index, next(iter(files.values())))
        for index, tar in tars.items()
        for number, (_, _, files) in enumerate(read_samples([tar]))
    )


def encode_sample(key: str, image: dict[str, bytes], *, label: SourceClass, source_uris: list[str]) -> Sample:
    """Returns an encoded image with its ``.cls`` (class index) and ``.json`` (key, class, source of each quadrant)."""
    metadata = {"key": key, "class_index": label.index, "class_name": label.name, "source_uris": source_uris}
    return key, {
        **image,
        "cls": str(label.index).encode(),
        "json": json.dumps(metadata, sort_keys=True, ensure_ascii=False).encode(),
    }
