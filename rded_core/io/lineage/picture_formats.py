"""File formats of the picture of `rded trace`, checked without importing torch."""

from pathlib import Path

from rded_core.errors import InputError

FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
"""Image format of each file ending that a picture may have."""


def require_picture_ending(path: Path) -> None:
    """Raises InputError if `path` does not end in one of `FORMATS`."""
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"--picture {path} must end in {' or '.join(FORMATS)}")
