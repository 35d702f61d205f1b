"""The files of a distilled dataset: in a folder, or fetched from a URL when they are first needed."""

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
    """Files that are there already.

    Attributes:
        where: as the user named it.
        folder: where they lie on this machine (for `RemoteFiles`: where they will, once they are needed).
    """

    def __init__(self, folder: DatasetFolder) -> None:
        self.where, self.folder = str(folder.root), folder

    def fetch(self, path: Path) -> Path:
        """Sees to it that a file is there, and returns its path."""
        return path

    def image_tars(self) -> Sequence[Path]:
        """Lists the image shards in order, there or not yet."""
        return self.folder.image_tars()


class RemoteFiles:
    """Files at a URL, each fetched once, held to its digest in SHA256SUMS, and kept.

    Args:
        url: of a run folder or of its dataset, in any form that fsspec knows.
        cache: folder to keep files in; by default ``$RDED_CACHE``, or ``~/.cache/rded``. What lies there is named by
            the digest of SHA256SUMS: another dataset at the same URL is never mixed with this one.

    Raises:
        InputError: there is no dataset at that URL.
    """

    def __init__(self, url: str, cache: Path | None = None) -> None:
        self.where = url.rstrip("/")
        self._held: set[str] = set()
        self._base, sums = find_sums(self.where)
        digest = hashlib.sha256(sums).hexdigest()
        self.folder = DatasetFolder((cache or default_cache()) / "datasets" / digest[:16])
        write_atomically(self.folder.sums, lambda temporary: temporary.write_bytes(sums))
        try:
            self._listed = read_sums(self.folder)
        except DamagedRecord as error:
            raise InputError(f"{self._base}/SHA256SUMS is damaged; publish the dataset again") from error

    def fetch(self, path: Path) -> Path:
        """Fetches a file where it is not there yet.

        Raises:
            InputError: the dataset lists no such file, or it does not come whole.
        """
        name = path.relative_to(self.folder.root).as_posix()
        if name == self.folder.sums.name or name in self._held:
            return path
        if name not in self._listed or DATASET_FILES.fullmatch(name) is None:
            raise InputError(f"{self._base} holds no {name}; publish the dataset again")
        if path.is_file() and file_digest(path) == self._listed[name]:  # kept by an earlier process, and whole
            self._held.add(name)
            return path
        url = join_path(self._base, name)
        try:
            download(url, path, sha256=self._listed[name])
        except FileNotFoundError as error:
            raise InputError(f"cannot fetch {url}: it is not there; publish the dataset again") from error
        except ChecksumMismatch as error:
            raise InputError(f"{url} is not what SHA256SUMS there says; publish the dataset again") from error
        self._held.add(name)
        return path

    def image_tars(self) -> Sequence[Path]:
        """See `LocalFiles`."""
        names = sorted(name for name in self._listed if name.startswith("images/") and name.endswith(".tar"))
        return [self.folder.root / name for name in names]


def open_files(where: str | Path | DatasetFolder) -> LocalFiles | RemoteFiles:
    """Finds a dataset: a run folder, the dataset in it, or the URL of either.

    Raises:
        InputError: there is none.
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
    raise InputError(f"no distilled dataset at {url}: there is no SHA256SUMS; give the URL of its folder")


def _read(url: str) -> bytes:
    try:
        return read_bytes(url)
    except FileNotFoundError as error:
        raise InputError(f"cannot fetch {url}: it is not there; publish the dataset again") from error
    except (OSError, EOFError) as error:
        raise InputError(f"cannot fetch {url}: {first_line(error)}; check the address and your rights") from error
