"""The files of a distilled dataset: in a folder, or fetched from a URL on first use."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from rded_core.errors import InputError, first_line
from rded_core.io.formats.sealed import DamagedRecord
from rded_core.io.formats.sums import read_sums
from rded_core.io.layout.dataset import DATASET_FILES, DatasetFolder
from rded_core.io.layout.run import find_dataset
from rded_core.io.storage.atomic import write_atomically
from rded_core.io.storage.cache import default_cache
from rded_core.io.storage.download import ChecksumMismatch, download
from rded_core.io.storage.files import file_digest
from rded_core.io.storage.remote_file import read_bytes
from rded_core.io.storage.urls import is_url, join_path, path_kind


class LocalFiles:
    """Files in a local folder.

    Attributes:
        where: as the user named it.
        folder: the local folder (for `RemoteFiles`, the folder that files are fetched to on first use).
    """

    def __init__(self, folder: DatasetFolder) -> None:
        self.where, self.folder = str(folder.root), folder

    def fetch(self, path: Path) -> Path:
        """Returns the path of a file, fetched if necessary."""
        return path

    def image_tars(self) -> Sequence[Path]:
        """Returns the paths of the image shards in order, fetched or not."""
        return self.folder.image_tars()


class RemoteFiles:
    """Files at a URL, each fetched once, checked against its digest in SHA256SUMS, and kept.

    Args:
        url: of a run folder or of its dataset, in any form that fsspec supports.
        cache: folder to keep files in; by default ``$RDED_CACHE``, or ``~/.cache/rded``. Its subfolder is named by
            the digest of SHA256SUMS, so a different dataset at the same URL is never mixed with this one.

    Raises:
        InputError: there is no dataset at that URL.
    """

    def __init__(self, url: str, cache: Path | None = None) -> None:
        self.where = url.rstrip("/")
        self._verified: set[str] = set()
        self._base, sums = find_sums(self.where)
        digest = hashlib.sha256(sums).hexdigest()
        self.folder = DatasetFolder((cache or default_cache()) / "datasets" / digest[:16])
        write_atomically(self.folder.sums, lambda temporary: temporary.write_bytes(sums))
        try:
            self._digests = read_sums(self.folder)
        except DamagedRecord as error:
            raise InputError(f"{self._base}/SHA256SUMS is damaged; publish the dataset again") from error

    def fetch(self, path: Path) -> Path:
        """Returns the local path of a file, fetched if necessary.

        Raises:
            InputError: the dataset does not list the file, or it cannot be fetched intact.
        """
        name = path.relative_to(self.folder.root).as_posix()
        if name == self.folder.sums.name or name in self._verified:
            return path
        if name not in self._digests or DATASET_FILES.fullmatch(name) is None:
            raise InputError(f"{self._base} has no {name}; publish the dataset again")
        if path.is_file() and file_digest(path) == self._digests[name]:  # fetched by an earlier process, and intact
            self._verified.add(name)
            return path
        url = join_path(self._base, name)
        try:
            download(url, path, sha256=self._digests[name])
        except FileNotFoundError as error:
            raise InputError(f"cannot fetch {url}: file not found; publish the dataset again") from error
        except ChecksumMismatch as error:
            raise InputError(f"{url} does not match its digest in SHA256SUMS; publish the dataset again") from error
        self._verified.add(name)
        return path

    def image_tars(self) -> Sequence[Path]:
        """See `LocalFiles`."""
        names = sorted(name for name in self._digests if name.startswith("images/") and name.endswith(".tar"))
        return [self.folder.root / name for name in names]


def open_files(where: str | Path | DatasetFolder) -> LocalFiles | RemoteFiles:
    """Returns the files of a dataset, given a run folder, the dataset in it, or the URL of either.

    Raises:
        InputError: there is no dataset.
    """
    if isinstance(where, DatasetFolder):
        return LocalFiles(where)
    if is_url(str(where)):
        return RemoteFiles(str(where))
    return LocalFiles(find_dataset(str(where))[0])


def find_sums(url: str) -> tuple[str, bytes]:
    """Returns the URL of the dataset's folder and the bytes of its SHA256SUMS."""
    for base in (join_path(url, "dataset"), url):
        if path_kind(join_path(base, "SHA256SUMS")) == "file":
            return base, _read(join_path(base, "SHA256SUMS"))
    raise InputError(f"no distilled dataset at {url}: SHA256SUMS is missing; give the URL of its folder")


def _read(url: str) -> bytes:
    try:
        return read_bytes(url)
    except FileNotFoundError as error:
        raise InputError(f"cannot fetch {url}: file not found; publish the dataset again") from error
    except (OSError, EOFError) as error:
        raise InputError(f"cannot fetch {url}: {first_line(error)}; check the address and your permissions") from error
