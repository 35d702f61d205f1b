"""A run that is started again does what is missing and leaves the rest as it is."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.distill import distill
from rded_core.config import DistillConfig
from rded_core.errors import InputError
from rded_core.io.images import RejectedImage
from rded_core.io.sources import SourceItem

MakeConfig = Callable[..., DistillConfig]
RunUndecorated = Callable[[DistillConfig], Path]


@pytest.fixture
def copied_run(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def _sums(run: Path) -> str:
    return (run / "dataset" / "SHA256SUMS").read_text()


def _written(run: Path) -> dict[str, int]:
    """Maps each file of ``work/`` to when it was last written."""
    work = run / "work"
    return {path.relative_to(work).as_posix(): path.stat().st_mtime_ns for path in work.rglob("*") if path.is_file()}


def test_only_the_lost_unit_is_made_again(copied_run: Path, finished_run: Path, make_config: MakeConfig) -> None:
    (copied_run / "work" / "selection" / "c00000-00001.parquet").unlink()
    shutil.rmtree(copied_run / "dataset")
    before = _written(copied_run)
    distill(make_config(copied_run))
    assert _sums(copied_run) == _sums(finished_run)
    changed = {name for name, time_ns in _written(copied_run).items() if before.get(name) != time_ns}
    assert changed == {"selection/c00000-00001.parquet", "selection/c00000-00001.json"}


@pytest.mark.parametrize(
    "damaged",
    [
        "candidates/c00002-00002.tar",
        "realism/c00000-00001.parquet",
        "squeeze/c00002-00002.tar",
        "soft_labels/epochs-000010-000011.parquet",
    ],
)
def test_damaged_output_is_noticed_and_made_again(
    copied_run: Path, finished_run: Path, make_config: MakeConfig, run_undecorated: RunUndecorated, damaged: str
) -> None:
    path = copied_run / "work" / damaged
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    before = _written(copied_run)
    run_undecorated(make_config(copied_run))
    assert _sums(copied_run) == _sums(finished_run)
    changed = {name for name, time_ns in _written(copied_run).items() if before.get(name) != time_ns}
    assert damaged in changed
    assert {name.rpartition(".")[0] for name in changed} == {damaged.rpartition(".")[0]}, "no other unit"


def test_run_goes_on_under_other_neutral_settings(
    copied_run: Path, finished_run: Path, make_config: MakeConfig, run_undecorated: RunUndecorated
) -> None:
    shutil.rmtree(copied_run / "dataset")
    run_undecorated(make_config(copied_run, classes_per_shard=3, workers=1, force=True))
    assert _sums(copied_run) == _sums(finished_run)


def test_images_that_vanish_while_they_are_drawn(
    make_config: MakeConfig, run_undecorated: RunUndecorated, finished_run: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    config = make_config(tmp_path / "run")

    def vanish(_: SourceItem) -> bytes:
        raise RejectedImage("missing", "unmounted")

    with monkeypatch.context() as patch:
        patch.setattr("tasks.candidates.read_item", vanish)
        with pytest.raises(InputError, match=r"12 of 12 images of class '1' cannot be read any more .*run again"):
            run_undecorated(config)
    with monkeypatch.context() as patch:
        patch.setattr("tasks.realism.read_item", vanish)
        with pytest.raises(InputError, match=r"cannot be read any more .*run again"):
            run_undecorated(config)
    run_undecorated(config)
    assert _sums(tmp_path / "run") == _sums(finished_run)


def test_run_goes_on_from_another_folder(
    image_folder: Path, finished_run: Path, make_config: MakeConfig, run_undecorated: RunUndecorated, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(image_folder.parent)
    run_undecorated(make_config(Path("run"), source="source"))
    shutil.rmtree(Path("run", "work", "candidates"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run_undecorated(make_config(Path("../run"), source="../source/"))
    assert _sums(tmp_path / "run") == _sums(finished_run)
