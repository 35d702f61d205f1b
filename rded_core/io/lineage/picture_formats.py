"""The formats of `rded trace`'s picture, which can be told without torch."""

from pathlib import Path

from rded_core.errors import InputError

FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
"""File endings that a picture may have."""


def require_picture_ending(path: Path) -> None:
    """Raises InputError where a file's ending is none that a picture may have."""
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"--picture {path} must end in {' or '.join(FORMATS)}")
