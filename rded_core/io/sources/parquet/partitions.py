"""Folders of Parquet files: Hive partitions (``label=cat/``), and configurations that must not be mixed."""

import re
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

    They do if their folders, or the words beside a split's name in their own names, differ by more than numbers.
    """
    by_name = {_configuration_of(table): table for table in sorted(tables, reverse=True)}
    if len(by_name) < 2 or _is_range(by_name):
        return
    folders = sorted({place for name, table in by_name.items() if (place := _folder_of(table, name))})
    listing = ", ".join(sorted(by_name.values())[:4]) + (" ..." if len(by_name) > 4 else "")
    remedy = f"give one of them: {root.rstrip('/')}/{folders[0]}" if folders else "move each into a folder of its own"
    raise InputError(
        f"{root} holds several configurations ({listing}), which may be the same images more than once; {remedy}"
        + (", or move the files of one set into one folder" if folders else " and give one")
    )


def _is_range(names: Iterable[str]) -> bool:
    """Whether the names are numbers from 0 or 1 without a gap: parts of one table, not resolutions."""
    numbers = sorted(int(name) if is_digits(name) else -1 for name in names)
    return numbers[0] in (0, 1) and numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def _configuration_of(table: str) -> str:
    *folders, base = table.split("/")
    parts = [folder for folder in folders if not HIVE_FOLDER.fullmatch(folder) and _is_telling(folder)]
    return "/".join([*parts, *_words_of_file(base.removesuffix(".parquet"))])


def _folder_of(table: str, configuration: str) -> str:
    """Returns the folder of a path down to the last part that belongs to its configuration."""
    *folders, _ = table.split("/")
    telling = [number for number, folder in enumerate(folders) if folder in configuration.split("/")]
    return "/".join(folders[: telling[-1] + 1]) if telling else ""


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[-_. ]+", name.lower()) if word]


def _is_telling(folder: str) -> bool:
    """Whether a folder's name has more than split words, words for parts, and the number of a part."""
    words = [word for word in _words(folder) if word.rstrip("0123456789") not in SPLIT_WORDS | SHARD_WORDS]
    is_part = len(words) < len(_words(folder))
    return any(not (is_part and is_digits(word)) for word in words)


def _words_of_file(stem: str) -> list[str]:
    words = _words(stem)
    names_split = bool(SPLIT_WORDS & {word.rstrip("0123456789") for word in words})
    return [word for word in words if RESOLUTION.fullmatch(word) or (names_split and _is_name(word))]


def _is_name(word: str) -> bool:
    return len(word) > 2 and word.isalpha() and word not in SPLIT_WORDS | SHARD_WORDS
