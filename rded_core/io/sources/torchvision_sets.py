"""``torchvision:NAME``: a classification set that torchvision downloads."""

import inspect
import io
from functools import lru_cache
from typing import Any

from rded_core.errors import InputError
from rded_core.io.sources.base import Source, SourceItem, name_classes

DEFAULT_ROOT = "data"
"""Folder of downloads unless the spec names one (``torchvision:CIFAR10@/path/to/it``)."""


def open_torchvision_set(spec: str, *, split: str) -> Source:
    """Opens ``torchvision:NAME[@ROOT]``, downloading it if necessary.

    Images are returned as PNG, which keeps their pixels.

    Raises:
        InputError: there is no such set, it has no labels, or the download failed.
    """
    dataset, has_splits = _open_dataset(spec, split)
    prefix = split if has_splits else "all"
    labels = getattr(dataset, "targets", None)
    if labels is None:
        labels = getattr(dataset, "labels", getattr(dataset, "_labels", None))
    if labels is None:
        raise InputError(f"{spec} has no readable class labels; export it to class folders instead")
    targets = [int(label) for label in labels]
    names = [str(label) for label in getattr(dataset, "classes", range(max(targets) + 1))]
    items: list[list[SourceItem]] = [[] for _ in names]
    for row, target in enumerate(targets):
        items[target].append(SourceItem(key=f"{prefix}#{row:08d}", path=spec, offset=row))
    return Source(
        spec=spec,
        classes=name_classes(names),
        items=tuple(tuple(group) for group in items),
    )


def read_torchvision_row(item: SourceItem) -> bytes:
    """Returns one image of an opened set as PNG."""
    return _as_png(_open_dataset(item.path, item.key.partition("#")[0])[0][item.offset][0])


@lru_cache(maxsize=4)
def _open_dataset(spec: str, split: str) -> tuple[Any, bool]:
    """Returns the set, and whether it has splits."""
    import torchvision  # only for such sets: torch.compile comes with it, a second of every process's start

    name, _, given_root = spec.removeprefix("torchvision:").partition("@")
    root = given_root or DEFAULT_ROOT
    factory = getattr(torchvision.datasets, name, None)
    if not callable(factory):
        raise InputError(f"{spec}: torchvision has no dataset {name!r}; see torchvision.datasets for the names")
    accepted = inspect.signature(factory).parameters
    if "train" in accepted:
        options: dict[str, Any] = {"train": split == "train"}
    else:
        options = {"split": split if name in ("Imagenette", "ImageNet") or split == "train" else "test"}
        options = options if "split" in accepted else {}
    has_splits = bool(options)
    if "download" in accepted:
        options["download"] = True
    try:
        return factory(root, **options), has_splits
    except (OSError, RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{spec}: not in {root!r} and the download failed ({reason}); download it on a machine with network "
            f"access, then give its folder: torchvision:{name}@FOLDER"
        ) from error


def _as_png(image: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
