"""Paths and fsspec URLs alike: list, read, glob."""

import os
from pathlib import Path
from typing import Any

import fsspec

from rded_core.errors import InputError
from rded_core.io.files import kind_of


def is_url(path: str) -> bool:
    """Tells an fsspec URL (``s3://bucket/key``) from a local path."""
    return "://" in path


def open_filesystem(url: str) -> tuple[Any, str]:
    """Returns the fsspec filesystem of `url` and the path inside it.

    Raises:
        InputError: the protocol is unknown, or its package (s3fs, gcsfs, huggingface_hub) is not installed.
    """
    try:
        return fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise InputError(f"cannot open {url}: {error}; install the extra for that storage (s3, gcs or hf)") from error


def list_files(root: str) -> list[tuple[str, int]]:
    """Lists every file below `root` as (POSIX path relative to it, size in bytes), sorted; hidden names left out.

    Raises:
        InputError: `root` is missing, unreadable, or no folder.
    """
    found = _list_remote(root) if is_url(root) else _list_local(Path(root))
    return sorted(entry for entry in found if not any(part.startswith(".") for part in entry[0].split("/")))


def list_empty_folders(root: str, below: str) -> tuple[str, ...]:
    """Lists the folders directly in ``root/below`` without a file in them; none for URLs, whose stores know no such."""
    if is_url(root):
        return ()
    folders = [entry for entry in Path(root, below).iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    return tuple(sorted(folder.name for folder in folders if not any(names for _, _, names in os.walk(folder))))


def read_bytes(path: str, *, offset: int = 0, num_bytes: int = -1) -> bytes:
    """Reads a file, or `num_bytes` of it from `offset`; raises FileNotFoundError where it is gone."""
    with open_stream(path) as stream:
        if offset:
            stream.seek(offset)
        return stream.read() if num_bytes < 0 else stream.read(num_bytes)


def open_stream(path: str) -> Any:
    """Opens a local file or URL for reading; the caller closes it."""
    return open_filesystem(path)[0].open(path, "rb") if is_url(path) else Path(path).open("rb")


def join_path(root: str, relative: str) -> str:
    """Joins a folder, local or URL, and a POSIX path below it."""
    return f"{root.rstrip('/')}/{relative}"


def require_folder(root: Path) -> None:
    """Raises InputError where `root` is no folder."""
    kind = kind_of(root)
    if kind is None:
        raise InputError(f"no such folder: {root}; give the path of a folder of class folders, tars or Parquet files")
    if kind == "file":
        raise InputError(f"{root} is a file, not a folder; give a folder, or a pattern that ends in .tar")


def _list_local(root: Path) -> list[tuple[str, int]]:
    require_folder(root)
    found: list[tuple[str, int]] = []
    for folder, _, names in os.walk(root, followlinks=True, onerror=_raise_unreadable):
        relative = Path(folder).relative_to(root).as_posix()
        prefix = "" if relative == "." else f"{relative}/"
        for name in names:
            try:
                found.append((prefix + name, (Path(folder) / name).stat().st_size))
            except OSError:
                found.append((prefix + name, 0))  # a dangling link: rejected as missing when it is read
    return found


def _raise_unreadable(error: OSError) -> None:
    raise InputError(f"cannot list {error.filename}: {error.strerror}; check its permissions") from error


def _list_remote(root: str) -> list[tuple[str, int]]:
    filesystem, inner = open_filesystem(root)
    try:
        is_file = filesystem.isfile(inner)
        listing = filesystem.find(inner, detail=True)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot list {root}: {error}") from error
    if is_file:
        raise InputError(f"{root} is a file, not a folder; give a folder, or a pattern that ends in .tar")
    if not listing:
        raise InputError(f"nothing found below {root}; check the address and your credentials")
    prefix = inner.rstrip("/") + "/"
    return [(name.removeprefix(prefix), int(entry.get("size") or 0)) for name, entry in listing.items()]
