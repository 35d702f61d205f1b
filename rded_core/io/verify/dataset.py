"""A dataset held to itself: every image readable, every key matched, counts as described. Needs no run, no torch."""

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
"""What the readers of JSON, tars, pictures and tables raise where a file is not what its name says."""


@dataclass(slots=True)
class _Contents:
    """What has been read of a dataset so far.

    Attributes:
        folder: the dataset.
        recipe: recipe.json; nothing where that is damaged.
        classes: classes.json's entries.
        class_of: key of each image to its class.
        uris: key of each image to the sources of its patches.
        num_features: of the teacher's last layer, where labels are stored as features.
        is_partial: a shard is damaged, so that a key that is not found says nothing.
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
        """Tells whether the small files were read."""
        return bool(self.recipe and self.classes)


def dataset_checks(folder: DatasetFolder, sums: str | None = None) -> list[Check]:
    """Returns the steps of a dataset's check: all its digests (SHA256SUMS's is `sums`, where known), then what it says.

    A file with other bytes than were written is named once, and not read.
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
    """Takes one step where its file is whole, and what it is compared with was read."""
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
        findings.add("inconsistent", path, f"is not what its name says ({type(error).__name__}: {error})")


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
        yield f"it has {recipe['num_classes']} classes, which are not those that classes.json numbers"
    if classes and sum(entry["num_images"] for entry in classes) != recipe["num_images"]:
        yield f"it has {recipe['num_images']} images, classes.json another number"
    contents.recipe = recipe


def _check_images(contents: _Contents, path: Path) -> Iterable[str]:
    """Reads a shard: pictures decode and have the recipe's size, ``.cls`` and ``.json`` agree with classes.json."""
    faults: list[str] = []
    for key, files in read_shard(path):
        described = json.loads(files["json"])
        index = int(files["cls"])
        label = contents.classes[index]
        if (described["key"], described["class_index"], described["class_name"]) != (key, index, label["name"]):
            faults.append(f"{key}.json and {key}.cls are of different images or classes")
        if key in contents.class_of:
            faults.append(f"{key} is there twice")
        if wrong := _wrong_picture(files, contents.recipe):
            faults.append(f"{key} {wrong}")
        contents.class_of[key] = index
        contents.uris[key] = described["source_uris"]
    yield from _first(faults)


def _wrong_picture(files: dict[str, bytes], recipe: dict[str, Any]) -> str:
    """Says why a sample's picture is none; nothing where it is."""
    size, suffix = recipe["size"], recipe["image_suffix"]
    if suffix not in files:
        return f"has no .{suffix}"
    try:
        with Image.open(io.BytesIO(files[suffix])) as picture:
            picture.load()
            return "" if picture.size == (size, size) else f"is of another size than {size} px"
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
    """Holds a table's rows to the images: one for each patch, in the order of the quadrants, with its source."""
    table = check_schema(path, LINEAGE).read()
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        rows.setdefault(row["key"], []).append(row)
    patches = list(range(contents.recipe["views"]["factor"] ** 2))
    faults: list[str] = []
    for key, quadrants in rows.items():
        uris = contents.uris.pop(key, None)
        if uris is None:
            faults.append(f"{key} is no image here, or one of another table")
        elif [row["quadrant"] for row in quadrants] != patches:
            faults.append(f"{key} has not one row for each of its {len(patches)} patches")
        elif [row["source_uri"] for row in quadrants] != uris:
            faults.append(f"{key} is of other sources than {key}.json says")
        elif {row["class_index"] for row in quadrants} != {contents.class_of[key]}:
            faults.append(f"{key} is of another class than its image")
        elif any((row["score_nats"] or 0) > 0 or row["score_nats"] != row["score_nats"] for row in quadrants):
            faults.append(f"{key} has a score that is none")
    yield from _first(faults)


def _check_lineage_is_whole(contents: _Contents, _: Path) -> Iterable[str]:
    if contents.uris:
        yield f"{len(contents.uris)} images have no rows in lineage/, the first {next(iter(contents.uris))}"


def _check_labels(contents: _Contents, path: Path) -> Iterable[str]:
    if contents.recipe["label_codec"] == "features" and not contents.num_features:
        return  # the last layer, which says how wide they are, is named as damaged or missing
    yield from _first(
        check_label_table(
            path, class_of=contents.class_of, folders=[entry["folder"] for entry in contents.classes],
            recipe=contents.recipe, num_features=contents.num_features,
        )
    )  # fmt: skip


def _check_head(contents: _Contents, path: Path) -> Iterable[str]:
    """Holds the teacher's last layer to the classes, and notes how many features it takes."""
    table = pq.ParquetFile(path.absolute(), page_checksum_verification=True).read()
    contents.num_features = table["weight"].type.list_size
    if table["class_index"].to_pylist() != list(range(len(contents.classes))):
        yield "its rows are not the classes in order"


def _check_epochs(contents: _Contents, _: Path) -> Iterable[str]:
    head = contents.folder.teacher_head.name
    if contents.recipe["label_codec"] == "features" and head not in read_sums(contents.folder):
        yield f"labels are features, and there is no {head}"
    names = [path.stem for path in contents.folder.soft_label_tables()]
    if missing := missing_epochs(names, contents.recipe["label_epochs"]):
        yield f"epochs {missing[0].start} to {missing[0].stop - 1} are in no table of soft_labels/"


def _check_croissant(contents: _Contents, path: Path) -> Iterable[str]:
    """Compares the digests that the metadata names with those of the files themselves."""
    listed = read_sums(contents.folder)
    named = {
        entry["contentUrl"]: entry["sha256"]
        for entry in json.loads(path.read_text(encoding="utf-8"))["distribution"]
        if entry["@type"] == "cr:FileObject" and entry["contentUrl"] != "."
    }
    yield from _first(f"names another digest of {url}" for url, digest in named.items() if listed.get(url) != digest)
    described = {url for url in listed if url.startswith("images/") or url in ("classes.json", "recipe.json")}
    yield from _first(f"does not name {url}" for url in sorted(described - named.keys()))


def _first(faults: Iterable[str]) -> Iterable[str]:
    """Yields the first of several faults of a file, and how many more there are."""
    found = list(faults)
    if found:
        yield found[0] + (f" (and {len(found) - 1} more)" if len(found) > 1 else "")
