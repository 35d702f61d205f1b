"""Records of classes whose pixels are read in another way now: made again, and only those."""

import io
import shutil
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from tests.flows.reuse.changes import TEN, Distill, MakeConfig, remade_since, written
from tests.rded_core.io.formats.raw_files import pgm_of, tiff_of

Write = Callable[[np.ndarray], tuple[str, bytes]]


def float_tiff(grey: np.ndarray) -> tuple[str, bytes]:
    return "tif", tiff_of((grey / 255).astype("f4"))


def inverted_tiff(grey: np.ndarray) -> tuple[str, bytes]:
    return "TIFF", tiff_of(grey.astype("u2") * 257, photometric=0)


def wide_pgm(grey: np.ndarray) -> tuple[str, bytes]:
    return "pgm", pgm_of(grey.astype("u2") * 4, 1023)


def plain_tiff(grey: np.ndarray) -> tuple[str, bytes]:
    return "tif", tiff_of(grey)


def plain_pgm(grey: np.ndarray) -> tuple[str, bytes]:
    return "pgm", pgm_of(grey, 255)


def rewrite(folder: Path, write: Write, count: int = 3) -> None:
    """Stores some of a folder's images in another form."""
    for path in sorted(folder.iterdir())[:count]:
        with Image.open(path) as image:
            suffix, data = write(np.asarray(image.convert("L")))
        path.with_suffix(f".{suffix}").write_bytes(data)
        path.unlink()


def as_tar(folder: Path, tar: Path) -> None:
    """Writes a class folder's images and labels as a WebDataset tar."""
    with tarfile.open(tar, "w") as archive:
        for path in sorted(folder.rglob("*.*")):
            key = f"{path.parent.name}_{path.stem}"
            for name, data in ((f"{key}{path.suffix}", path.read_bytes()), (f"{key}.cls", path.parent.name.encode())):
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))


def without_setting(distill: Distill, config: object) -> None:
    """Runs as an earlier version did, whose records have no such setting."""
    with (
        mock.patch("tasks.patches.score.form_settings", return_value={}),
        mock.patch("tasks.patches.tile.form_settings", return_value={}),
        mock.patch("tasks.patches.check.form_settings", return_value={}),
    ):
        distill(config)


def remade(distill: Distill, config: object, out: Path) -> tuple[Mapping[str, set[str]], set[str]]:
    before = written(out)
    distill(config)
    return remade_since(out, before)


@pytest.mark.parametrize(
    ("write", "in_tars"),
    [(float_tiff, False), (float_tiff, True), (inverted_tiff, False), (wide_pgm, False)],
    ids=["float TIFF", "float TIFF in tars", "inverted TIFF", "wide PGM"],
)
def test_older_records_of_such_a_class_are_stale(
    write: Write, in_tars: bool, shared_source: Path, make_config: MakeConfig, distill: Distill, tmp_path: Path
) -> None:
    source = Path(shutil.copytree(shared_source, tmp_path / "source"))
    rewrite(source / "10", write)
    if in_tars:
        as_tar(source, tmp_path / "images.tar")
    config = make_config(
        tmp_path / "run", source=str(tmp_path / "images.tar" if in_tars else source), num_candidates=30
    )
    without_setting(distill, config)
    classes, whole = remade(distill, config, tmp_path / "run")
    assert classes == {"realism": set(TEN), "squeeze": set(TEN)}
    assert "observe" in whole
    assert remade(distill, config, tmp_path / "run") == ({}, set())


@pytest.mark.parametrize("write", [plain_tiff, plain_pgm], ids=lambda write: write.__name__)
def test_records_of_every_other_class_stay_current(
    write: Write, shared_source: Path, make_config: MakeConfig, distill: Distill, tmp_path: Path
) -> None:
    source = Path(shutil.copytree(shared_source, tmp_path / "source"))
    rewrite(source / "10", write)
    config = make_config(tmp_path / "run", source=str(source), num_candidates=30)
    without_setting(distill, config)
    assert remade(distill, config, tmp_path / "run") == ({}, set())
