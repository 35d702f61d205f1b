"""Opens a source by its spec string; see `open_source`."""

from pathlib import Path

from rded_core.errors import InputError
from rded_core.io.sources.base import Source, keep_classes, require_classes_kept
from rded_core.io.sources.image_folder import is_image_name, open_image_folder
from rded_core.io.sources.parquet_files import open_parquet_files
from rded_core.io.sources.splits import files_of_split
from rded_core.io.sources.torchvision_sets import DEFAULT_ROOT, open_torchvision_set
from rded_core.io.sources.webdataset_tars import expand_tars, open_webdataset_tars
from rded_core.io.storage.tree import list_tree
from rded_core.io.storage.urls import is_url, join_path


def open_source(
    spec: str, *, split: str = "train", classes: tuple[str, ...] | None = None, max_rejected: float | None = None
) -> Source:
    """Opens a source and lists its classes and items, without reading an image.

    Args:
        spec: a folder of class folders; a folder of Parquet files with an image and a label column; WebDataset tars
            (a folder of them, a glob, or ``shard-{000000..000099}.tar``); any of these as an fsspec URL; or
            ``torchvision:CIFAR10`` (``torchvision:CIFAR10@/path/to/it``).
        split: ``train`` or ``val``: which one to open if the source has several.
        classes: keep only these (names, WordNet ids or folders).
        max_rejected: largest share of a class that may be passed over; by default any share but the whole.

    Raises:
        InputError: the source is not usable; the message says what was expected.
    """
    source = _open_any(spec, split=split)
    if empty := [folder for folder in source.empty_folders if not classes or folder in classes]:
        raise InputError(f"{spec} has empty class folders: {', '.join(empty[:5])}; fill or remove them")
    require_classes_kept(source, wanted=classes, max_rejected=max_rejected)
    if classes:
        source = keep_classes(source, classes)
    if len(source.classes) < 2:
        names = ", ".join(label.folder for label in source.classes)
        raise InputError(
            f"{spec} holds one class ({names}), but classification needs at least two; give the folder above it"
        )
    return source


def absolute_spec(spec: str) -> str:
    """Returns a spec that means the same from any working directory; URLs stay unchanged."""
    if is_url(spec):
        return spec
    if spec.startswith("torchvision:"):
        name, _, root = spec.partition("@")
        return f"{name}@{Path(root or DEFAULT_ROOT).resolve()}"
    return str(Path(spec).resolve())


def _open_any(spec: str, *, split: str) -> Source:
    if spec.startswith("torchvision:"):
        return open_torchvision_set(spec, split=split)
    if spec.endswith(".tar"):
        return open_webdataset_tars(expand_tars(spec), spec=spec)
    tree = list_tree(spec)
    if not any(tree.folders.values()):
        raise InputError(f"{spec} is empty; expected class folders with images, .tar shards or .parquet files")
    tars = [name for name, _, _ in tree.folders.get("", []) if name.endswith(".tar")]
    tables = sorted(tree.paths(lambda name: name.endswith(".parquet")))
    if (tars or tables) and (image := next((path for path in tree.paths(is_image_name) if "/" in path), None)):
        raise InputError(
            f"{spec} holds both images in folders ({image}) and {(tars or tables)[0]}, so it is unclear which are "
            "the source; give a folder that holds only one kind"
        )
    if tars:
        return open_webdataset_tars([join_path(spec, tar) for tar in files_of_split(tars, split)], spec=spec)
    if tables:
        return open_parquet_files(spec, tables, split=split)
    return open_image_folder(spec, tree, spec=spec.rstrip("/"), split=split)
