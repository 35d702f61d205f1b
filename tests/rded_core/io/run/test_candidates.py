"""Candidates of a class in forms that earlier versions read differently, if some of its images are gone."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from rded_core.io.formats.rows import CandidateRow
from rded_core.io.formats.schemas import CANDIDATES
from rded_core.io.formats.tables import write_rows
from rded_core.io.layout.run import DRAW, RunFolder
from rded_core.io.run.candidates import hold_form_read_differently
from tests.rded_core.io.formats.raw_files import tiff_of

FLOATS = tiff_of(np.linspace(0, 1, 20, dtype="f4").reshape(4, 5))
PLAIN = tiff_of(np.arange(20, dtype="u1").reshape(4, 5))


def run_of(root: Path, images: list[bytes]) -> RunFolder:
    """Returns a run with one class, whose candidates lie in the source."""
    rows: list[CandidateRow] = []
    for position, data in enumerate(images):
        path = root / f"{position}.tif"
        path.write_bytes(data)
        rows.append(
            CandidateRow(
                position=position, key=path.name, path=str(path), offset=0, num_bytes=len(data), in_tar=False,
                source_uri=path.name, source_sha256=hashlib.sha256(data).hexdigest(),
            )
        )  # fmt: skip
    run = RunFolder(root / "run")
    run.table(DRAW, "0").parent.mkdir(parents=True)
    write_rows(run.table(DRAW, "0"), rows, CANDIDATES)
    return run


@pytest.mark.parametrize(("last", "expected"), [(FLOATS, True), (PLAIN, False)], ids=["floats", "bytes"])
@pytest.mark.parametrize("is_missing", [True, False], ids=["missing", "changed"])
def test_a_lost_image_does_not_hide_the_form_of_the_next(
    tmp_path: Path, last: bytes, expected: bool, is_missing: bool
) -> None:
    run = run_of(tmp_path, [FLOATS, last])
    if is_missing:
        (tmp_path / "0.tif").unlink()
    else:
        (tmp_path / "0.tif").write_bytes(PLAIN)
    assert hold_form_read_differently(run, "0", "any") is expected


def test_an_image_that_comes_back_counts_again(tmp_path: Path) -> None:
    run = run_of(tmp_path, [FLOATS, PLAIN])
    (tmp_path / "0.tif").unlink()
    assert not hold_form_read_differently(run, "0", "any")
    (tmp_path / "0.tif").write_bytes(FLOATS)
    assert hold_form_read_differently(run, "0", "any")
