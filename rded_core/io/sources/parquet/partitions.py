"""Folders of Parquet files: Hive partitions (``label=cat/``), and configurations that must not be mixed."""

import re
from collections import defaultdict
from collections.abc import Iterable
from urllib.parse import unquote

from rded_core.errors import InputError
from rded_core.io.sources.labels import is_digits
from rded_core.io.sources.names import SPLIT_NAMES

HIVE_FOLDER = re.compile(r"([^=/]+)=([^/]*)")
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""How Hive writes a missing value."""

SPLIT_WORDS = {name for names in SPLIT_NAMES.values() for name in names}
SHARD_WORDS = {"batch", "chunk", "data", "file", "files", "of", "parquet", "part", "partition", "shard", "table"}
"""Words in the names of files and folders that one table was cut into."""

RESOLUTION = re.compile(r"\d+(px|p|x\d+)")
SIZE_WORDS = {"full", "fullsize", "large", "medium", "mini", "original", "small", "thumb", "thumbnail", "tiny"}
SIZE_FILLERS = {"image", "images", "size", "sized"}
USUAL_SIZES = {str(side) for side in (28, 32, 48, 64, 96, 112, 128, 160, 192, 224, 256, 299, 320, 384, 448, 512)}
"""Folders with such numbers alone hold images of several sizes; other numbers are parts of a table."""


def partition_labels(tables: list[str], columns: tuple[str, ...]) -> dict[str, int | str | None]:
    """Returns the label that each path's folders name (``label=cat``), for the paths that have one.

    If all of them are digits, they are numbers.
    """
    found = {table: dict(HIVE_FOLDER.findall(table.rpartition("/")[0])) for table in tables}
    texts = {
        table: unquote(values[name])
        for table, values in found.items()
        if (name := next((column for column in columns if column in values), None))
    }
    stored = {table: None if text == NO_VALUE else text for table, text in texts.items()}
    if all(text is None or is_digits(text) for text in stored.values()):
        return {table: None if text is None else int(text) for table, text in stored.items()}
    return {**stored}


def without_partitions(table: str) -> str:
    """Returns a path in which ``split=train`` is ``train``, and other partitions name no split."""
    *folders, base = table.split("/")
    plain = [_plain_folder(folder) for folder in folders]
    return "/".join([*plain, base])


def _plain_folder(folder: str) -> str:
    match = HIVE_FOLDER.fullmatch(folder)
    if match is None:
        return folder
    return unquote(match[2]) if match[1] == "split" else f"{match[1]}="


def require_one_configuration(root: str, tables: Iterable[str]) -> None:
    """Raises InputError if files seem to hold the same images several times, such as at several resolutions.

    They do if their names differ by a size (``160px``, ``full_size``), or if named folders each hold the same part of
    a split (``en/train-00000.parquet``, ``default/train-00000.parquet``). Dates, numbers and other names are parts.
    """
    paths = sorted(tables, reverse=True)
    by_name = _by_size(paths) or _by_number(paths) or _by_table(paths)
    if not by_name:
        return
    folders = sorted({place for name, table in by_name.items() if (place := _folder_of(table, name))})
    listing = ", ".join(sorted(by_name.values())[:4]) + (" ..." if len(by_name) > 4 else "")
    remedy = f"give one of them: {root.rstrip('/')}/{folders[0]}" if folders else "move each into a folder of its own"
    raise InputError(
        f"{root} holds several configurations ({listing}), which may be the same images more than once; {remedy}"
        + (", or move the files of one set into one folder" if folders else " and give one")
    )


def _by_size(paths: list[str]) -> dict[str, str]:
    """Returns a file of each size that names have; empty if they do not differ by sizes."""
    by_size = {_sizes_in(path): path for path in paths}
    if len(by_size) < 2:
        return {}
    return {"/".join([*filter(_folder_sizes, path.split("/")[:-1]), *sizes]): path for sizes, path in by_size.items()}


def _sizes_in(path: str) -> tuple[str, ...]:
    *folders, base = path.split("/")
    words = _words(base.removesuffix(".parquet"))
    kinds = SIZE_WORDS if SPLIT_WORDS & _bare(words) else set[str]()
    sizes = [word for word in words if RESOLUTION.fullmatch(word) or word in kinds]
    return (*(size for folder in folders for size in _folder_sizes(folder)), *sizes)


def _folder_sizes(folder: str) -> list[str]:
    """Returns the sizes in a folder's name; words such as ``large`` count only if the name says nothing else."""
    if HIVE_FOLDER.fullmatch(folder):
        return []
    words = _words(folder)
    rest = _bare(words) - SPLIT_WORDS - SHARD_WORDS - SIZE_FILLERS - {""}
    return [word for word in words if RESOLUTION.fullmatch(word) or (word in SIZE_WORDS and rest <= SIZE_WORDS)]


def _by_number(paths: list[str]) -> dict[str, str]:
    """Returns a file of each folder, if their names are usual sizes of images and nothing else."""
    numbers = {path: [folder for folder in path.split("/")[:-1] if is_digits(folder)] for path in paths}
    by_number = {"/".join(found): path for path, found in numbers.items()}
    are_sizes = all(len(found) == 1 and found[0] in USUAL_SIZES for found in numbers.values())
    return by_number if are_sizes and len(by_number) > 1 else {}


def _by_table(paths: list[str]) -> dict[str, str]:
    """Returns a file of each named folder that holds the same part of a split as another; empty if there are none."""
    owners: defaultdict[tuple[str, ...], dict[tuple[str, ...], tuple[str, str]]] = defaultdict(dict)
    for path in paths:
        *folders, base = path.split("/")
        named = [number for number, folder in enumerate(folders) if _name_of(folder)]
        below = folders[named[-1] + 1 :] if named else folders
        words = _part_words(below, base)
        if SPLIT_WORDS & _bare(words):
            kind = tuple(word for number in named for word in _name_of(folders[number]))
            owners[tuple(words)][kind] = "/".join(folders[number] for number in named), path
    return next((dict(files.values()) for files in owners.values() if len(files) > 1), {})


def _part_words(folders: list[str], base: str) -> list[str]:
    """Returns the words that tell a part of a table from its other parts: without ``of-00003`` and what follows."""
    stem = re.sub(r"[-_. ]of[-_. ]\d+.*", "", base.removesuffix(".parquet").lower())
    plain = [folder for folder in folders if not HIVE_FOLDER.fullmatch(folder)]
    return [word for name in (*plain, stem) for word in _words(name) if word not in SHARD_WORDS]


def _name_of(folder: str) -> list[str]:
    """Returns the words of a folder's name that are neither a split, a part nor a number."""
    if HIVE_FOLDER.fullmatch(folder):
        return []
    bare = [word.rstrip("0123456789") for word in _words(folder)]
    return [word for word in bare if word and word not in SPLIT_WORDS | SHARD_WORDS]


def _folder_of(table: str, name: str) -> str:
    """Returns the folder of a path down to the last part that belongs to the name of its configuration."""
    *folders, _ = table.split("/")
    telling = [number for number, folder in enumerate(folders) if folder in name.split("/")]
    return "/".join(folders[: telling[-1] + 1]) if telling else ""


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[-_. ]+", name.lower()) if word]


def _bare(words: Iterable[str]) -> set[str]:
    return {word.rstrip("0123456789") for word in words}
