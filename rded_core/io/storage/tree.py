"""Listing of every file below a folder or URL, in one scan."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rded_core.errors import InputError
from rded_core.io.storage.retries import retry_transient
from rded_core.io.storage.urls import (
    is_url,
    not_a_folder,
    open_filesystem,
    path_kind,
    pattern_hint,
    remote_stamp,
    require_folder,
)

ListedFile = tuple[str, int, int]
"""A file's name, its size in bytes (`BROKEN_LINK` if it is one), and a change stamp that differs after every write."""

BROKEN_LINK = -1
"""In place of the size of a link whose target is missing."""

SCAN_THREADS = 16
SLOW_ENTRY_S = 50e-6
"""Seconds an entry may take; if it takes longer, threads list the folders and wait for disk or network in parallel.

A warm disk takes 5 µs, and threads then only compete for Python's lock: four of them took four times the CPU.
"""


SYSTEM_FOLDERS = frozenset(
    {
        *("__macosx", "__pycache__", "@eadir", "@recycle", "@tmp", "#recycle", "#snapshot", "~snapshot", "lost+found"),
        *("$recycle.bin", "recycler", "found.000", "system volume information", "network trash folder"),
        "temporary items",
    }
)
"""Folders that systems and tools leave behind, in lower case; names that begin with a dot are left out as well."""


@dataclass(frozen=True, slots=True)
class FileTree:
    """The files below a root by folder, so that a property of a folder is decided once, not once per file.

    Attributes:
        folders: maps each folder's POSIX path relative to the root (empty for the root) to its files, sorted by name;
            names that begin with a dot, `SYSTEM_FOLDERS` and links to a folder above are left out.
        bare: folders without any file or hidden name directly in them; empty for URLs, as it is unknown there.
        hidden: names left out, by the folder that holds them.
    """

    folders: dict[str, list[ListedFile]]
    bare: frozenset[str] = frozenset()
    hidden: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])

    def paths(self, is_wanted: Callable[[str], bool]) -> Iterator[str]:
        """Yields the path, relative to the root, of every file whose name passes `is_wanted`, by folder, then name."""
        for folder, files in sorted(self.folders.items()):
            for name, _, _ in files:
                if is_wanted(name):
                    yield f"{folder}/{name}" if folder else name

    def empty_folders(self, prefix: str) -> tuple[str, ...]:
        """Returns the folders directly below `prefix` (empty, or ending in a slash) that hold no file at any depth."""
        below = [folder.removeprefix(prefix) for folder in self.folders if folder and folder.startswith(prefix)]
        filled = {name.split("/", 1)[0] for name in below if prefix + name not in self.bare}
        return tuple(sorted({name for name in below if name and "/" not in name} - filled))


def list_tree(root: str) -> FileTree:
    """Lists every file below `root`, following links to folders.

    Raises:
        InputError: `root` is missing, unreadable, or not a folder.
    """
    return _list_remote(root) if is_url(root) else _list_local(Path(root))


def _list_local(root: Path) -> FileTree:
    require_folder(root)
    folders: dict[str, list[ListedFile]] = {}
    bare: set[str] = set()
    hidden: dict[str, Sequence[str]] = {}
    level = [""]
    while level:
        below: list[str] = []
        for folder, (files, subfolders, names) in zip(level, _scan_all(str(root), level), strict=True):
            folders[folder] = files
            if names:
                hidden[folder] = names
            elif not files:
                bare.add(folder)
            below += (f"{folder}/{name}" if folder else name for name in subfolders)
        level = below
    return FileTree(folders, frozenset(bare), hidden)


def _scan_all(root: str, folders: list[str]) -> Iterator[tuple[list[ListedFile], list[str], list[str]]]:
    """Lists folders in order: the first alone and timed, the others in threads if entries are slow."""
    started = time.perf_counter()
    first = _scan(root, folders[0])
    each_s = (time.perf_counter() - started) / (len(first[0]) + len(first[1]) + 1)
    yield first
    if each_s < SLOW_ENTRY_S:
        yield from (_scan(root, folder) for folder in folders[1:])
        return
    with ThreadPoolExecutor(SCAN_THREADS, thread_name_prefix="scan") as pool:
        yield from pool.map(partial(_scan, root), folders[1:])


def _scan(root: str, folder: str) -> tuple[list[ListedFile], list[str], list[str]]:
    """Lists one folder: its files by name, its subfolders, and the names that are hidden."""
    files: list[ListedFile] = []
    subfolders: list[str] = []
    hidden: list[str] = []
    try:
        with os.scandir(f"{root}/{folder}") as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    hidden.append(name)
                elif _is_folder(entry):
                    is_left_out = name.lower() in SYSTEM_FOLDERS or _is_loop(entry, root)
                    (hidden if is_left_out else subfolders).append(name)
                else:
                    files.append((name, *_size_and_stamp(entry)))
    except OSError as error:
        raise InputError(f"cannot list {error.filename}: {error.strerror}; check its permissions") from error
    files.sort()
    return files, subfolders, sorted(hidden)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a circular link
        return False


def _is_loop(entry: "os.DirEntry[str]", root: str) -> bool:
    """Whether a link leads to a folder that it lies in: following it would list every file again and again.

    The folders that it lies in are those of its path as given, which may pass other links.
    """
    if not entry.is_symlink():
        return False
    target = f"{os.path.realpath(entry.path).rstrip('/')}/"
    names = entry.path.removeprefix(f"{root}/").split("/")
    above = ("/".join([root, *names[:count]]) for count in range(len(names)))
    return any(f"{os.path.realpath(folder)}/".startswith(target) for folder in above)


def _size_and_stamp(entry: "os.DirEntry[str]") -> tuple[int, int]:
    try:
        status = entry.stat()
    except OSError:
        return BROKEN_LINK if entry.is_symlink() else 0, 0
    return status.st_size, status.st_mtime_ns


def _list_remote(root: str) -> FileTree:
    filesystem, inner = open_filesystem(root)
    try:
        is_file = path_kind(root) == "file"
        listing = [] if is_file else list(_find_files(root, filesystem, inner))
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"cannot list {root}: {error}") from error
    if is_file:
        raise InputError(not_a_folder(root))
    if not listing:
        raise InputError(f"nothing found below {root}; check the address and your credentials{pattern_hint(root)}")
    prefix = inner.rstrip("/") + "/"
    folders: dict[str, list[ListedFile]] = {}
    hidden: dict[str, set[str]] = {}
    for path, num_bytes, stamp in listing:
        folder, _, name = path.removeprefix(prefix).rpartition("/")
        parts = folder.split("/") if folder else []
        top = next((place for place, part in enumerate(parts) if _is_hidden_folder(part)), None)
        if top is not None:
            hidden.setdefault("/".join(parts[:top]), set()).add(parts[top])
        elif name.startswith("."):
            hidden.setdefault(folder, set()).add(name)
        else:
            folders.setdefault(folder, []).append((name, num_bytes, stamp))
    listed = {folder: sorted(files) for folder, files in folders.items()}
    return FileTree(listed, hidden={folder: sorted(names) for folder, names in hidden.items()})


def _is_hidden_folder(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM_FOLDERS


def _find_files(root: str, filesystem: Any, inner: str) -> Iterator[ListedFile]:
    """Yields path, size and stamp of every file: from one flat listing if the storage has it, else folder by folder.

    fsspec's own walk, which its plain ``find`` uses, skips folders that cannot be listed.
    """
    if _has_flat_listing(filesystem):
        entries: dict[str, Any] = retry_transient(lambda: filesystem.find(inner, detail=True), root)
        yield from ((path, int(entry.get("size") or 0), remote_stamp(entry)) for path, entry in entries.items())
        return
    folders = [inner]
    while folders:
        for entry in _list_folder(root, filesystem, folders.pop()):
            path = entry["name"].rstrip("/")
            if entry["type"] == "directory":
                folders.append(path)
            else:
                yield path, int(entry.get("size") or 0), remote_stamp(entry)


def _list_folder(root: str, filesystem: Any, folder: str) -> list[dict[str, Any]]:
    try:
        return retry_transient(lambda: filesystem.ls(folder, detail=True), root)
    except FileNotFoundError:  # removed since its parent was listed, or a root that is only a prefix
        return []


def _has_flat_listing(filesystem: Any) -> bool:
    """Returns True if a storage has a ``find`` of its own, asynchronous or not, instead of fsspec's walk."""
    kind = type(filesystem)
    return getattr(kind, "_find", kind.find).__module__ not in ("fsspec.asyn", "fsspec.spec")
