"""SHA256SUMS files: written and read in the format of sha256sum."""

from rded_core.io.formats.sealed import DamagedRecord
from rded_core.io.layout.dataset import DatasetFolder, relative_to_dataset
from rded_core.io.storage.atomic import write_text
from rded_core.io.storage.files import file_digest


def format_sums(listed: dict[str, str]) -> str:
    """Returns the text of SHA256SUMS, path to digest, in the form that ``sha256sum -c`` reads."""
    return "".join(f"{digest}  {path}\n" for path, digest in listed.items())


def read_sums(folder: DatasetFolder, expected: str | None = None) -> dict[str, str]:
    """Reads SHA256SUMS, path to digest; checks it against its `expected` digest if one is given.

    Raises:
        OSError: the file cannot be read.
        DamagedRecord: a byte has changed.
    """
    data = folder.sums.read_bytes()
    text = data.decode("utf-8", errors="replace")
    listed = {path: digest for digest, _, path in (line.partition("  ") for line in text.split("\n")[:-1])}
    if format_sums(listed).encode() != data or expected not in (None, file_digest(folder.sums)):
        raise DamagedRecord(f"{folder.sums} has changed since it was written")
    return listed


def write_sums(folder: DatasetFolder) -> None:
    """Writes SHA256SUMS for every other file, in the form that ``sha256sum -c`` reads."""
    write_text(
        folder.sums, format_sums({relative_to_dataset(folder, path): file_digest(path) for path in folder.files()})
    )
