"""``torchvision:NAME``: a classification set that torchvision downloads."""

import inspect
import io
from functools import lru_cache
from typing import Any

from rded_core.errors import InputError
from rded_core.io.sources.base import Source, SourceItem, name_classes

DEFAULT_ROOT = "data"
"""Folder of downloads unless the spec names one (``torchvision:CIFAR10@/path/to/it``)."""


SPLIT_WORDS = {"train": ("train", "trainval", "train-standard"), "val": ("test", "val", "valid")}
"""Values of a set's argument ``split`` for each split, the first that it knows; tests hold more images than val."""

LABELLED_SPLITS = {
    name: {"train": ("train", "train-standard"), "val": ("val",)} for name in ("CLEVRClassification", "Places365")
}
"""The same for sets whose test split has no labels."""

CLASS_FOLDERS = frozenset({"DatasetFolder", "ImageFolder", "INaturalist"})
"""Sets that are class folders on disk, which torchvision lists in no fixed order or with arguments of their own."""


def open_torchvision_set(spec: str, *, split: str) -> Source:
    """Opens ``torchvision:NAME[:PART][@ROOT]``, downloading it if necessary.

    PART is needed for a set of several sets only, such as ``EMNIST:balanced``. Images are returned as PNG, which keeps
    their pixels. Classes that torchvision names by lists of synonyms (ImageNet, Imagenette) are WordNet ids here.

    Raises:
        InputError: there is no such set or split, it has no labels, or the download failed.
    """
    dataset, has_splits = _open_dataset(spec, split)
    prefix = split if has_splits else "all"
    targets = _read_targets(spec, dataset)
    names = _class_names(dataset, targets)
    items: list[list[SourceItem]] = [[] for _ in names]
    for row, target in enumerate(targets):
        items[target].append(SourceItem(key=f"{prefix}#{row:08d}", path=spec, offset=row))
    return Source(
        spec=spec,
        classes=name_classes(names),
        items=tuple(tuple(group) for group in items),
    )


def _read_targets(spec: str, dataset: Any) -> list[int]:
    """Returns the class of each row, from wherever torchvision's sets keep it."""
    for place in ("targets", "labels", "_labels", "y", "_samples"):
        found = getattr(dataset, place, None)
        if found is None:
            continue
        labels: Any = [sample[-1] for sample in found] if place == "_samples" else found
        if getattr(labels, "ndim", 1) == 2:  # QMNIST: the digit comes first
            labels = labels[:, 0]
        try:
            targets = [int(label) for label in labels]
        except (TypeError, ValueError):  # CLEVR's and FER2013's test splits
            break
        if targets and min(targets) >= 0:
            return targets
    raise InputError(f"{spec} has no readable class labels; export it to class folders instead")


def _class_names(dataset: Any, targets: list[int]) -> list[str]:
    for place in ("wnids", "classes", "categories"):
        names = getattr(dataset, place, None)
        if names is not None:
            return [str(name) for name in names]
    return [str(number) for number in range(max(targets) + 1)]


def read_torchvision_row(item: SourceItem) -> bytes:
    """Returns one image of an opened set as PNG."""
    return _as_png(_open_dataset(item.path, item.key.partition("#")[0])[0][item.offset][0])


@lru_cache(maxsize=4)
def _open_dataset(spec: str, split: str) -> tuple[Any, bool]:
    """Returns the set, and whether it has splits."""
    import torchvision  # only for such sets: torch.compile comes with it, a second of every process's start

    full_name, _, given_root = spec.removeprefix("torchvision:").partition("@")
    name, _, part = full_name.partition(":")
    root = given_root or DEFAULT_ROOT
    factory = getattr(torchvision.datasets, name, None)
    if not callable(factory):
        near = {known.lower(): known for known in torchvision.datasets.__all__}.get(name.lower())
        remedy = f"give torchvision:{near}" if near else "see torchvision.datasets for the names"
        raise InputError(f"{spec}: torchvision has no dataset {name!r}; {remedy}")
    if name in CLASS_FOLDERS:
        raise InputError(f"{spec}: {name} consists of class folders; give their folder itself as the source")
    unknown = ""
    for options in _options(spec, factory, split, part):
        try:
            return factory(root, **options), bool({"train", "split"} & options.keys())
        except ImportError as error:
            raise InputError(f"{spec} needs the package {error.name}; pip install {error.name}") from error
        except TypeError as error:
            raise InputError(
                f"{spec}: torchvision's {name} cannot be opened by its name alone ({error}); export its images to "
                "class folders"
            ) from error
        except (OSError, RuntimeError, ValueError) as error:
            unknown = (str(error).splitlines() or [type(error).__name__])[0]
            if not unknown.startswith("Unknown value"):
                raise _absent(spec, root, unknown, downloads="download" in options) from error
    known = unknown.partition("Valid values are ")[2].strip("{}. ")
    raise InputError(
        f"{spec} has no split for {split}; it has {known or 'others'}; name one, as in torchvision:{name}:PART, or "
        "export it to class folders"
    )


def _options(spec: str, factory: Any, split: str, part: str) -> list[dict[str, Any]]:
    """Returns the arguments to try for a split, in this order, by the names of the set's own arguments."""
    accepted = _parameters(factory)
    options: dict[str, Any] = {"download": True} if "download" in accepted else {}
    if "train" in accepted:
        options["train"] = split == "train"
    if "split" not in accepted:
        if part:
            raise InputError(f"{spec}: the set has no part {part!r}; leave it out")
        return [options]
    if part:
        return [{**options, "split": part}]
    if "train" not in accepted:
        words = LABELLED_SPLITS.get(factory.__name__, SPLIT_WORDS)[split]
        return [{**options, "split": word} for word in words]
    if accepted["split"].default is not inspect.Parameter.empty:
        return [options]
    name, at, root = spec.partition("@")
    parts = [str(each) for each in getattr(factory, "splits", ("PART",))]
    raise InputError(f"{spec} has the parts {', '.join(parts)}; name one, as in {name}:{parts[0]}{at}{root}")


def _parameters(factory: Any) -> dict[str, inspect.Parameter]:
    """Returns a set's arguments, with those of its parents if it passes any others on (``**kwargs``)."""
    accepted: dict[str, inspect.Parameter] = {}
    for kind in getattr(factory, "__mro__", (factory,)):
        own = inspect.signature(kind).parameters
        accepted = {**own, **accepted}
        if not any(each.kind is inspect.Parameter.VAR_KEYWORD for each in own.values()):
            break
    return accepted


def _absent(spec: str, root: str, reason: str, *, downloads: bool) -> InputError:
    name = spec.partition("@")[0]
    if downloads:
        return InputError(
            f"{spec}: not in {root!r} and the download failed ({reason}); download it on a machine with network "
            f"access, then give its folder: {name}@FOLDER"
        )
    return InputError(
        f"{spec}: not complete in {root!r} ({reason}), and torchvision does not download this set; put its files "
        f"there, or give their folder: {name}@FOLDER"
    )


def _as_png(image: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
