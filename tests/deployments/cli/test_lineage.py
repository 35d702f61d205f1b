"""``rded trace`` and ``rded forget`` from a user's view."""

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from rded_core.config import DistillConfig

MakeConfig = Callable[..., DistillConfig]
RunUndecorated = Callable[[DistillConfig], Path]
RunCli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(short_run: Path) -> Path:
    """A finished run, which tests do not change."""
    return short_run


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which pictures are written to."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def _lineage(run: Path) -> list[dict[str, Any]]:
    return pq.read_table(run / "dataset" / "lineage").to_pylist()


def _row_text(row: dict[str, Any]) -> str:
    box = " ".join(str(row[f"box_{side}"]) for side in ("top", "left", "height", "width"))
    return f"box {box} (top left height width), score {row['score_nats']:.4g} nats, rank {row['rank']}"


@pytest.mark.parametrize("place", ["", "dataset"])
def test_trace_shows_the_source_of_every_quadrant(
    run_cli: RunCli, run: Path, shared_source: Path, elsewhere: Path, place: str
) -> None:
    key = "c00001_i00001"
    code, out, err = run_cli("trace", run / place, key)
    assert code == 0, err
    assert out.startswith(f"image       {key}, class 10\n")
    rows = [row for row in _lineage(run) if row["key"] == key]
    assert [row["quadrant"] for row in rows] == [0, 1, 2, 3]
    for row in rows:
        digest = hashlib.sha256((shared_source / row["source_uri"]).read_bytes()).hexdigest()
        lines = f"quadrant {row['quadrant']}  {row['source_uri']}", f"sha256 {digest}", _row_text(row)
        assert all(line in out for line in lines)
    assert out.endswith(f"picture     {key}.jpg\n")
    assert Image.open(elsewhere / f"{key}.jpg").width > 1000
    assert "Prefect" not in err


def test_pictures_of_several_keys_go_to_a_folder(run_cli: RunCli, run: Path, tmp_path: Path) -> None:
    code, out, _ = run_cli("trace", run, "c00000_i00000", "c00002_i00001", "--picture", tmp_path)
    assert code == 0
    assert out.count("quadrant") == 8
    assert {path.name for path in tmp_path.glob("*.jpg")} == {"c00000_i00000.jpg", "c00002_i00001.jpg"}
    code, _, err = run_cli("trace", run, "c00000_i00000", "c00002_i00001", "--picture", tmp_path / "one.jpg")
    assert code == 2
    assert "is one file for 2 images" in err


def test_unknown_key_suggests_the_nearest(run_cli: RunCli, run: Path) -> None:
    code, out, err = run_cli("trace", run, "c00001_i00007")
    assert (code, out) == (2, "")
    assert re.search(r"no image 'c00001_i00007' among the 6 in .*dataset; nearest: c00001_i0000", err)
    assert err.count("\n") == 1


def test_dataset_alone_has_lineage_but_no_picture(
    run_cli: RunCli, run: Path, shared_source: Path, tmp_path: Path, elsewhere: Path
) -> None:
    alone = Path(shutil.copytree(run / "dataset", tmp_path / "alone"))
    code, out, _ = run_cli("trace", alone, "c00000_i00000")
    assert code == 0
    assert "no picture  the dataset is not in its run folder; give --images-from SOURCE" in out
    assert not list(elsewhere.iterdir())
    code, out, _ = run_cli("trace", alone, "c00000_i00000", "--images-from", shared_source)
    assert code == 0
    assert out.endswith("picture     c00000_i00000.jpg\n")
    other = Path(shutil.copytree(shared_source, tmp_path / "other"))
    uri = next(row["source_uri"] for row in _lineage(run) if row["key"] == "c00000_i00000" and row["quadrant"] == 2)
    shutil.copy(other / "2" / "000.jpg", other / uri)
    code, out, _ = run_cli("trace", alone, "c00000_i00000", "--images-from", other)
    assert "missing     quadrant 2: source image changed" in out


def test_picture_comes_from_the_source_without_candidates(run_cli: RunCli, run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    shutil.rmtree(copy / "work" / "candidates")
    code, out, _ = run_cli("trace", copy, "c00000_i00000")
    assert code == 0
    assert out.endswith("picture     c00000_i00000.jpg\n")


def test_picture_is_never_written_into_the_run_or_over_a_users_file(
    run_cli: RunCli, run: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = run_cli("trace", run, "c00000_i00000", "--picture", run / "dataset" / "x.jpg")
    assert code == 2
    assert "which may hold no other files" in err
    (elsewhere / "c00000_i00000.jpg").write_text("my notes")
    code, out, _ = run_cli("trace", run, "c00000_i00000")
    assert code == 0
    assert "no picture  c00000_i00000.jpg already exists and was not drawn by rded; give --picture FILE" in out
    assert (elsewhere / "c00000_i00000.jpg").read_text() == "my notes"
    monkeypatch.chdir(run)
    code, out, _ = run_cli("trace", run, "c00000_i00000")
    assert code == 0
    assert "which may hold no other files" in out
    assert not list(run.glob("*.jpg"))


def test_trace_of_a_source_image_lists_its_uses(run_cli: RunCli, run: Path, shared_source: Path) -> None:
    row = _lineage(run)[5]
    digest = row["source_sha256"]
    for name in (row["source_uri"], digest):
        code, out, _ = run_cli("trace", run, "--source", name)
        assert code == 0
        assert out == (
            f"source      {name}\nshown in    {row['key']} quadrant {row['quadrant']}, class 1, {_row_text(row)}\n"
        )
    unused = min(
        {f"1/{path.name}" for path in (shared_source / "1").iterdir()} - {x["source_uri"] for x in _lineage(run)}
    )
    assert run_cli("trace", run, "--source", unused)[1].endswith("shown in    no distilled image\n")
    code, _, err = run_cli("trace", run, "--source", "1/typo.jpg")
    assert code == 2
    assert re.search(r"unknown image '1/typo.jpg'; .* such as 1/\d+.jpg", err)


def test_trace_needs_either_keys_or_a_source(run_cli: RunCli, run: Path, tmp_path: Path) -> None:
    assert run_cli("trace", run)[0] == 2
    assert run_cli("trace", run, "c00000_i00000", "--source", "1/000.jpg")[0] == 2
    assert run_cli("trace", tmp_path, "c00000_i00000")[0] == 2


@pytest.mark.usefixtures("plain_flows")
def test_forget_reports_its_changes(run_cli: RunCli, run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    row, other = _lineage(copy)[0], hashlib.sha256(b"never seen").hexdigest()
    code, out, err = run_cli("forget", copy, "--source", row["source_uri"], "--source", other)
    assert code == 0, err
    lines = f"forgotten   {row['source_sha256']}\n            {row['source_uri']}\n            candidate of class 1\n"
    assert lines in out
    assert f"forgotten   {other}\n            unknown to this run; excluded if it ever appears\n" in out
    assert f"shown in    1 distilled image: {row['key']}\n" in out
    assert re.search(r"^refilled    c00000_i0000\d quadrant \d with 1/\d+.jpg \(rank 7\)$", out, flags=re.MULTILINE)
    assert re.search(r"^labels      \d+ of 12 computed again$", out, flags=re.MULTILINE)
    assert out.splitlines()[-1].startswith("remember    earlier evaluations and networks")
    for name in (row["source_sha256"], row["source_uri"]):
        code, out, err = run_cli("trace", copy, "--source", name)
        assert out.endswith("shown in    no distilled image\nforgotten   no run here uses it\n")
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file()}
    for name in (row["source_sha256"].upper(), row["source_uri"]):
        code, out, err = run_cli("forget", copy, "--source", name)
        assert (code, err) == (0, ""), "nothing is started"
        assert out == f"forgotten   {row['source_sha256']}: already forgotten, nothing changed\n"
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file()} == before
    code, _, err = run_cli("forget", copy)
    assert code == 2
    assert "missing: --source IMAGE" in err


@pytest.mark.usefixtures("plain_flows")
def test_interrupted_forget_is_reported_and_completed(
    run_cli: RunCli, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    row = _lineage(copy)[0]
    with monkeypatch.context() as patch:
        patch.setattr("flows.forget.run_stages", _interrupt)
        assert run_cli("forget", copy, "--source", row["source_uri"])[0] == 130
    begun = f"forgotten   unfinished; run rded forget {copy} to finish\n"
    for name in (row["source_uri"], row["source_sha256"]):
        assert run_cli("trace", copy, "--source", name)[1].endswith(begun)
    assert (
        f"note          a forgetting was interrupted; run rded forget {copy} to finish it" in run_cli("verify", copy)[1]
    )
    code, out, _ = run_cli("distill", "--config", copy / "run.json", "--out", copy)
    assert code == 0
    assert f"unfinished  rded forget was interrupted, traces may remain; run rded forget {copy}\n" in out
    code, out, err = run_cli("forget", copy)
    assert code == 0, err
    assert f"forgotten   {row['source_sha256']}\n            {row['source_uri']}\n" in out
    assert run_cli("trace", copy, "--source", row["source_sha256"])[1].endswith("forgotten   no run here uses it\n")


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_missing_lineage_is_reported(run_cli: RunCli, run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    shutil.rmtree(copy / "dataset" / "lineage")
    for arguments in (["c00000_i00000"], ["--source", _lineage(run)[0]["source_uri"]]):
        code, _, err = run_cli("trace", copy, *arguments)
        assert code == 2
        assert "lineage is missing in" in err
        assert "rded repair" in err


@pytest.mark.usefixtures("plain_flows")
def test_forget_needs_a_run_folder(run_cli: RunCli, run: Path, tmp_path: Path) -> None:
    alone = Path(shutil.copytree(run / "dataset", tmp_path / "alone"))
    code, _, err = run_cli("forget", alone, "--source", "1/000.jpg")
    assert code == 2
    assert "no run folder at" in err
    assert run_cli("forget", run)[0] == 2
    code, _, err = run_cli("forget", run, "--source", "1/typo.jpg")
    assert code == 2
    assert "unknown image '1/typo.jpg'" in err


def test_unknown_picture_format_is_rejected_before_torch_starts(run: Path) -> None:
    code = (
        "import sys; from deployments.cli.main import app; from rded_core.errors import InputError\n"
        f"try: app(['trace', {str(run)!r}, 'c00000_i00000', '--picture', 'why.gif'], standalone_mode=False)\n"
        "except InputError as error: assert 'must end in .jpg or .jpeg or .png' in str(error)\n"
        "else: raise AssertionError\n"
        "assert not {'torch', 'prefect'} & set(sys.modules), 'slow to start'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
