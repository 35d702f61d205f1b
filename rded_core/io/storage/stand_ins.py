"""Files that lie in another's place: Git LFS pointers, web pages of a failed download, empty files."""

from pathlib import Path

from rded_core.io.storage.remote_file import open_stream

LFS_START = b"version https://git-lfs.github.com/spec/v1"
PAGE_STARTS = (b"<!doctype html", b"<html", b"<?xml")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LFS_POINTER = "it is a Git LFS pointer, not the file itself; run git lfs pull in its repository"
NUM_BYTES = 256
"""A file shows within so many bytes what it is."""


def is_lfs_pointer(start: bytes) -> bool:
    """Whether a file that begins so is a Git LFS pointer: a text of three lines in place of a large file."""
    return start.startswith(LFS_START)


def reason_or_pointer(path: Path, reason: object, remedy: str) -> str:
    """Returns why a file of a dataset cannot be read and what to do: that it is a Git LFS pointer, or what is given."""
    return LFS_POINTER if stand_in_at(str(path)) == LFS_POINTER else f"{reason}; {remedy}"


def stand_in_at(path: str) -> str:
    """Returns what the file at a path or URL is in place of data, and the remedy; empty if it may be data."""
    try:
        with open_stream(path) as stream:
            return stand_in(stream.read(NUM_BYTES))
    except OSError:
        return ""


def stand_in(start: bytes) -> str:
    """Returns what a file that begins so is in place of data, and the remedy; empty if it may be data."""
    if not start:
        return "it is empty; fetch it again"
    if is_lfs_pointer(start):
        return LFS_POINTER
    if start.removeprefix(BYTE_ORDER_MARK).lstrip().lower().startswith(PAGE_STARTS):
        return "it is a web page or an error message, not the file itself; fetch it again from its own address"
    return ""
