"""Folders of Parquet files: Hive partitions (``label=cat/``), and configurations that must not be mixed."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from urllib.parse import unquote

from rded_core.errors import InputError
from rded_core.io.sources.labels import is_digits
from rded_core.io.sources.names import words_in
from rded_core.io.sources.parquet.columns import LABEL_COLUMNS
from rded_core.io.sources.sizes.words import (
    COUNTED_WORDS,
    SIZE_FILLERS,
    SIZE_WORDS,
    USUAL_SIZES,
    is_resolution,
    names_that_differ_by_size,
    spell_sizes,
)
from rded_core.io.sources.splits.words import split_word, split_words

HIVE_FOLDER = re.compile(r"([^=/]+)=([^/]*)")
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""How Hive writes a missing value."""

SPLIT_COLUMNS = frozenset({"fold", "mode", "part", "partition", "phase", "set", "split", "stage", "subset", "usage"})
"""Columns, any of whose values may be splits."""

SHARD_WORDS = {"batch", "chunk", "data", "file", "files", "of", "parquet", "part", "partition", "shard", "table"}
"""Words in the names of files and folders that one table was cut into."""


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


def without_partitions(tables: Iterable[str]) -> dict[str, str]:
    """Returns each path with ``split=train`` as ``train``; partitions that are no splits lose their values.

    Columns of splits are `SPLIT_COLUMNS`, and others (but for those of labels) all of whose values are split words.
    """
    listed = list(tables)
    values: defaultdict[str, set[str]] = defaultdict(set)
    for name, value in HIVE_FOLDER.findall("/".join(table.rpartition("/")[0] for table in listed)):
        values[name].add(unquote(value))
    splits = {name for name, found in values.items() if _holds_splits(name, found)}
    return {table: _plain_path(table, splits) for table in listed}


def _holds_splits(column: str, values: Iterable[str]) -> bool:
    if column in SPLIT_COLUMNS:
        return column == "split" or any(map(split_words, values))
    return column not in LABEL_COLUMNS and all(split_word(value.lower()) for value in values)


def _plain_path(table: str, splits: Collection[str]) -> str:
    *folders, base = table.split("/")
    return "/".join([*(_plain_folder(folder, splits) for folder in folders), base])


def _plain_folder(folder: str, splits: Collection[str]) -> str:
    match = HIVE_FOLDER.fullmatch(folder)
    if match is None:
        return folder
    return unquote(match[2]) if match[1] in splits else f"{match[1]}="


def require_one_configuration(root: str, tables: Iterable[str]) -> None:
    """Raises InputError if files seem to hold the same images several times, such as at several resolutions.

    They do if their names differ by a size (``160px``, ``full_size``, ``res64``, ``imagenet64``), or if named folders
    each hold the same part of a split (``en/train-00000.parquet``, ``default/train-00000.parquet``). Dates, numbers
    and other names are parts.
    """
    paths = sorted(tables, reverse=True)
    by_name = _by_size(paths) or _by_number(paths) or _by_word(paths) or _by_table(paths)
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
    spelled = spell_sizes(paths)
    by_size = {_sizes_in(spelled[path]): path for path in paths}
    if len(by_size) < 2:
        return {}
    return {"/".join([*_sized_folders(path, spelled[path]), *sizes]): path for sizes, path in by_size.items()}


def _sized_folders(path: str, spelled: str) -> list[str]:
    """Returns the folders of a path, as written, that have a size in their name."""
    pairs = zip(path.split("/")[:-1], spelled.split("/"), strict=False)
    return [folder for folder, plain in pairs if _folder_sizes(plain)]


def _sizes_in(path: str) -> tuple[str, ...]:
    *folders, base = path.split("/")
    words = words_in(base.removesuffix(".parquet"))
    kinds = SIZE_WORDS if any(map(split_words, words)) else frozenset[str]()
    sizes = [word for word in words if is_resolution(word) or word in kinds]
    return (*(size for folder in folders for size in _folder_sizes(folder)), *sizes)


def _folder_sizes(folder: str) -> list[str]:
    """Returns the sizes in a folder's name; words such as ``large`` count only if the name says nothing else."""
    if HIVE_FOLDER.fullmatch(folder):
        return []
    words = words_in(folder)
    rest = set(_telling(words)) - SIZE_FILLERS
    return [word for word in words if is_resolution(word) or (word in SIZE_WORDS and rest <= SIZE_WORDS)]


def _by_number(paths: list[str]) -> dict[str, str]:
    """Returns a file of each folder, if their names are usual sizes of images and nothing else."""
    numbers = {path: [folder for folder in path.split("/")[:-1] if is_digits(folder)] for path in paths}
    by_number = {"/".join(found): path for path, found in numbers.items()}
    are_sizes = all(len(found) == 1 and found[0] in USUAL_SIZES for found in numbers.values())
    return by_number if are_sizes and len(by_number) > 1 else {}


def _by_word(paths: list[str]) -> dict[str, str]:
    """Returns a file of each folder, or each file, whose names differ by a usual size after a word."""
    levels: defaultdict[tuple[bool, int], dict[str, str]] = defaultdict(dict)
    for path in paths:
        *folders, base = path.split("/")
        for depth, folder in enumerate(folders):
            if not HIVE_FOLDER.fullmatch(folder):
                levels[False, depth][folder] = path
        levels[True, len(folders)][base.removesuffix(".parquet")] = path
    for (is_file, _), names in sorted(levels.items()):
        found = names_that_differ_by_size(names, is_counted=_is_counted if is_file else COUNTED_WORDS.__contains__)
        if found:
            return {name: names[name] for name in found}
    return {}


def _is_counted(word: str) -> bool:
    """Whether numbers after a word in a file's name count parts: those of splits do, as in ``train-64``."""
    return word in COUNTED_WORDS or bool(split_words(word))


def _by_table(paths: list[str]) -> dict[str, str]:
    """Returns a file of each named folder that holds the same part of a split as another; empty if there are none."""
    owners: defaultdict[tuple[str, ...], dict[tuple[str, ...], tuple[str, str]]] = defaultdict(dict)
    for path in paths:
        *folders, base = path.split("/")
        named = [number for number, folder in enumerate(folders) if _name_of(folder)]
        below = folders[named[-1] + 1 :] if named else folders
        words = _part_words(below, base)
        if any(map(split_words, words)):
            kind = tuple(word for number in named for word in _name_of(folders[number]))
            owners[tuple(words)][kind] = "/".join(folders[number] for number in named), path
    return next((dict(files.values()) for files in owners.values() if len(files) > 1), {})


def _part_words(folders: list[str], base: str) -> list[str]:
    """Returns the words that tell a part of a table from its other parts: without ``of-00003`` and what follows."""
    stem = re.sub(r"[-_. ]of[-_. ]\d+.*", "", base.removesuffix(".parquet").lower())
    plain = [folder for folder in folders if not HIVE_FOLDER.fullmatch(folder)]
    return [word for name in (*plain, stem) for word in words_in(name) if word not in SHARD_WORDS]


def _name_of(folder: str) -> list[str]:
    """Returns the words of a folder's name that are neither a split, a part nor a number."""
    return [] if HIVE_FOLDER.fullmatch(folder) else _telling(words_in(folder))


def _telling(words: Iterable[str]) -> list[str]:
    """Returns the words, without digits at their end, that are neither a split, a part nor a number."""
    bare = (word.rstrip("0123456789") for word in words)
    return [word for word in bare if word and word not in SHARD_WORDS and not split_words(word)]


def _folder_of(table: str, name: str) -> str:
    """Returns the folder of a path down to the last part that belongs to the name of its configuration."""
    *folders, _ = table.split("/")
    telling = [number for number, folder in enumerate(folders) if folder in name.split("/")]
    return "/".join(folders[: telling[-1] + 1]) if telling else ""
