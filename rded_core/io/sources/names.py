"""Names in a folder source: which files are images, and which folders are splits instead of classes."""

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2"}
)
"""File names with these endings (any case) are images of a folder source; others are skipped and counted."""

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "test", "testing"),
}
"""Folder names that mean splits, not classes, by purpose; earlier names are preferred."""


def is_image_name(name: str) -> bool:
    """Whether a file name ends like that of an image."""
    _, dot, ending = name.rpartition(".")
    return bool(dot) and f".{ending.lower()}" in IMAGE_SUFFIXES
