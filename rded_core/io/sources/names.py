"""What names mean in a folder source: which files are images, which folders are splits and no classes."""

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2"}
)
"""File names with these endings (any case) are images of a folder source; others are passed over and counted."""

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "test", "testing"),
}
"""Names that are splits, not classes, by what they are for; earlier names are preferred."""
