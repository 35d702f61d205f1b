"""Checks within a dataset: images decode, keys match, counts are as described. Needs no run and no torch."""

import io
import json
import struct
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from rded_core.errors import InputError
from rded_core.io.formats.schemas import LINEAGE
from rded_core.io.formats.shards import read_shard
from rded_core.io.formats.sums import read_sums
from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.verify.findings import Check, Findings
from rded_core.io.verify.sums import sum_checks
from rded_core.io.verify.tables import check_label_table, check_schema, missing_epochs

UNREADABLE = (
    *(OSError, ValueError, KeyError, TypeError, IndexError, EOFError, SyntaxError, AttributeError),
    *(struct.error, tarfile.TarError, pa.ArrowException, InputError),
)
"""Exceptions that the readers of JSON, tars, pictures and tables raise for invalid contents."""


@dataclass(slots=True)
class _Contents:
    """Contents of a dataset read so far.

    Attributes:
        folder: the dataset folder.
        recipe: contents of recipe.json; empty if it is damaged.
        classes: entries of classes.json; empty if it is damaged.
        class_of: class index by image key.
        uris: source URIs of an image's patches, by image key; lineage takes out the keys that it covers.
        num_features: features of the teacher's last layer, if labels are stored as features.
        is_partial: whether a shard is damaged, so that a missing key proves nothing.
    """

    folder: DatasetFolder
    recipe: dict[str, Any] = field(default_factory=dict[str, Any])
    classes: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    class_of: dict[str, int] = field(default_factory=dict[str, int])
    uris: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    num_features: int = 0
    is_partial: bool = False

    @property
    def is_open(self) -> bool:
        """Whether recipe.json and classes.json were read."""
        return bool(self.recipe and self.classes)


def dataset_checks(folder: DatasetFolder, sums: str | None = None) -> list[Check]:
    """Returns the steps of a dataset's check: first all digests, then the contents.

    `sums` is the expected digest of SHA256SUMS, if known. A file with a wrong digest is reported once, and not read.
    """
    contents = _Contents(folder)
    steps: list[tuple[Path, Callable[[_Contents, Path], Iterable[str]]]] = [
        (folder.classes, _read_classes),
        (folder.recipe, _read_recipe),
        *((tar, _check_images) for tar in folder.image_tars()),
        (folder.classes, _check_counts),
        *((table, _check_lineage) for table in folder.lineage_tables()),
        (folder.recipe, _check_lineage_is_whole),
        *([(folder.teacher_head, _check_head)] if folder.teacher_head.is_file() else []),
        *((table, _check_labels) for table in folder.soft_label_tables()),
        (folder.recipe, _check_epochs),
        (folder.croissant, _check_croissant),
    ]
    return [*sum_checks(folder, sums), *(partial(_read, contents, path, look) for path, look in steps)]


def _read(
    contents: _Contents, path: Path, look: Callable[[_Contents, Path], Iterable[str]], findings: Findings
) -> None:
    """Takes one step if its file is whole and the files to compare it with were read."""
    is_small = look in (_read_classes, _read_recipe)
    if is_small and contents.folder.sums in findings.whole and not path.is_file():
        findings.add("missing", path, "every dataset has it")
    needs_images = not is_small and look not in (_check_images, _check_croissant)
    if path not in findings.whole or (needs_images and contents.is_partial):
        contents.is_partial |= look is _check_images
        return
    if not contents.is_open and not is_small:
        return
    try:
        for what in look(contents, path):
            findings.add("inconsistent", path, what)
    except UNREADABLE as error:
        contents.is_partial |= look is _check_images
        findings.add("inconsistent", path, f"invalid contents ({type(error).__name__}: {error})")


def _read_classes(contents: _Contents, path: Path) -> Iterable[str]:
    classes = json.loads(path.read_text(encoding="utf-8"))
    for entry in classes:
        for name in ("index", "name", "folder", "num_images"):
            entry[name]
    contents.classes = classes
    return ()


def _read_recipe(contents: _Contents, path: Path) -> Iterable[str]:
    recipe = json.loads(path.read_text(encoding="utf-8"))
    classes = contents.classes
    if classes and [entry["index"] for entry in classes] != list(range(recipe["num_classes"])):
        yield f"num_classes is {recipe['num_classes']}, which does not match the indices in classes.json"
    if classes and sum(entry["num_images"] for entry in classes) != recipe["num_images"]:
        yield f"num_images is {recipe['num_images']}, which does not match the counts in classes.json"
    contents.recipe = recipe


def _check_images(contents: _Contents, path: Path) -> Iterable[str]:
    """Checks that a shard's pictures decode at the recipe's size, and ``.cls`` and ``.json`` match classes.json."""
    faults: list[str] = []
    for key, files in read_shard(path):
        described = json.loads(files["json"])
        index = int(files["cls"])
        label = contents.classes[index]
        if (described["key"], described["class_index"], described["class_name"]) != (key, index, label["name"]):
            faults.append(f"{key}.json does not match {key}.cls and classes.json")
        if key in contents.class_of:
            faults.append(f"{key} appears twice")
        if wrong := _wrong_picture(files, contents.recipe):
            faults.append(f"{key} {wrong}")
        contents.class_of[key] = index
        contents.uris[key] = described["source_uris"]
    yield from _first(faults)


def _wrong_picture(files: dict[str, bytes], recipe: dict[str, Any]) -> str:
    """Returns what is wrong with a sample's picture; empty if nothing."""
    size, suffix = recipe["size"], recipe["image_suffix"]
    if suffix not in files:
        return f"has no .{suffix}"
    try:
        with Image.open(io.BytesIO(files[suffix])) as picture:
            picture.load()
            return "" if picture.size == (size, size) else f"is not {size} x {size} px"
    except UNREADABLE as error:
        return f"does not decode ({error})"


def _check_counts(contents: _Contents, _: Path) -> Iterable[str]:
    counts = Counter(contents.class_of.values())
    yield from _first(
        f"class {entry['folder']} has {counts[entry['index']]} images in the shards, not {entry['num_images']}"
        for entry in contents.classes
        if counts[entry["index"]] != entry["num_images"]
    )


def _check_lineage(contents: _Contents, path: Path) -> Iterable[str]:
    """Checks a table's rows against the images: one per patch, in the order of the quadrants, with its source."""
    table = check_schema(path, LINEAGE).read()
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        rows.setdefault(row["key"], []).append(row)
    patches = list(range(contents.recipe["views"]["factor"] ** 2))
    faults: list[str] = []
    for key, quadrants in rows.items():
        uris = contents.uris.pop(key, None)
        if uris is None:
            faults.append(f"{key} is not an image here, or another table holds its rows")
        elif [row["quadrant"] for row in quadrants] != patches:
            faults.append(f"{key} does not have one row for each of its {len(patches)} patches")
        elif [row["source_uri"] for row in quadrants] != uris:
            faults.append(f"{key} has other sources than {key}.json")
        elif {row["class_index"] for row in quadrants} != {contents.class_of[key]}:
            faults.append(f"{key} has a different class than its image")
        elif any((row["score_nats"] or 0) > 0 or row["score_nats"] != row["score_nats"] for row in quadrants):
            faults.append(f"{key} has a positive or NaN score")
    yield from _first(faults)


def _check_lineage_is_whole(contents: _Contents, _: Path) -> Iterable[str]:
    if contents.uris:
        yield f"{len(contents.uris)} images have no rows in lineage/, the first is {next(iter(contents.uris))}"


def _check_labels(contents: _Contents, path: Path) -> Iterable[str]:
    if contents.recipe["label_codec"] == "features" and not contents.num_features:
        return  # the last layer, which gives their width, is reported as damaged or missing
    yield from _first(
        check_label_table(
            path, class_of=contents.class_of, folders=[entry["folder"] for entry in contents.classes],
            recipe=contents.recipe, num_features=contents.num_features,
        )
    )  # fmt: skip


def _check_head(contents: _Contents, path: Path) -> Iterable[str]:
    """Checks the teacher's last layer against the classes, and keeps its number of features."""
    table = pq.ParquetFile(path.absolute(), page_checksum_verification=True).read()
    contents.num_features = table["weight"].type.list_size
    if table["class_index"].to_pylist() != list(range(len(contents.classes))):
        yield "its rows are not one per class, in order"


def _check_epochs(contents: _Contents, _: Path) -> Iterable[str]:
    head = contents.folder.teacher_head.name
    if contents.recipe["label_codec"] == "features" and head not in read_sums(contents.folder):
        yield f"labels are stored as features, but {head} is missing"
    names = [path.stem for path in contents.folder.soft_label_tables()]
    if missing := missing_epochs(names, contents.recipe["label_epochs"]):
        yield f"epochs {missing[0].start} to {missing[0].stop - 1} are missing from soft_labels/"


def _check_croissant(contents: _Contents, path: Path) -> Iterable[str]:
    """Compares the digests in the metadata with those in SHA256SUMS."""
    listed = read_sums(contents.folder)
    named = {
        entry["contentUrl"]: entry["sha256"]
        for entry in json.loads(path.read_text(encoding="utf-8"))["distribution"]
        if entry["@type"] == "cr:FileObject" and entry["contentUrl"] != "."
    }
    yield from _first(f"has a different digest for {url}" for url, digest in named.items() if listed.get(url) != digest)
    described = {url for url in listed if url.startswith("images/") or url in ("classes.json", "recipe.json")}
    yield from _first(f"does not list {url}" for url in sorted(described - named.keys()))


def _first(faults: Iterable[str]) -> Iterable[str]:
    """Yields the first of a file's faults, with the number of the others; nothing if there are none."""
    listed = list(faults)
    if listed:
        yield listed[0] + (f" (and {len(listed) - 1} more)" if len(listed) > 1 else "")
