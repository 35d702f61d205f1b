"""Labels of the last run are reused if computing them now would give the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rded_core.config import DistillConfig
from rded_core.io.layout.run import RunFolder
from rded_core.io.run.records import read_record, write_record

MakeConfig = Callable[..., DistillConfig]
Distill = Callable[..., dict[str, Any]]


@pytest.fixture
def distill(plain_flows: None) -> Distill:  # noqa: ARG001
    from flows.distill import distill

    return distill  # type: ignore[return-value]


def _edit(source: Path) -> None:
    for path in sorted((source / "10").iterdir()):
        Image.radial_gradient("L").convert("RGB").resize((44, 40)).save(path, quality=95)


@pytest.mark.parametrize("codec", ["float16", "int8"])
def test_labels_of_unchanged_images_are_reused(
    image_folder: Path, make_config: MakeConfig, distill: Distill, tmp_path: Path, codec: str
) -> None:
    """Passes without a changed image are read from the earlier table; the bytes are those of a run from scratch."""
    settings = {
        "source": str(image_folder),
        "mix": "none",
        "label_batch_size": 2,
        "ipc": 2,
        "num_candidates": 12,
        "label_codec": codec,
    }
    config = make_config(tmp_path / "run", **settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.labels.passes.CPU_ROWS", 2)
        distill(config)
        _edit(image_folder)
        distill(config)
        distill(make_config(tmp_path / "fresh", **settings))
    records = [read_record(path) for path in sorted((tmp_path / "run" / "work" / "soft_labels").glob("epochs-*.json"))]
    reused = [record.facts["reused_views"] for record in records]
    assert all(0 < count < record.facts["views"] for count, record in zip(reused, records, strict=True))
    sums = [(tmp_path / name / "dataset" / "SHA256SUMS").read_text() for name in ("run", "fresh")]
    assert sums[0] == sums[1]
    assert len(list((tmp_path / "run" / "work" / "soft_labels").glob("images-*.json"))) == 1


@pytest.mark.parametrize(
    ("rows", "facts", "mixed"),
    [
        (2, {}, True),
        (4, {}, False),
        (2, {"made_with": {"device": "cuda"}}, False),
        (2, {"passes": None}, False),
        (2, {"made_with": {"device": "cpu", "torch": "another"}}, True),
    ],
    ids=["same", "other passes", "other device", "unknown passes", "other version"],
)
def test_labels_are_mixed_only_if_computed_alike(
    image_folder: Path, make_config: MakeConfig, distill: Distill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    rows: int, facts: dict[str, Any], mixed: bool,
) -> None:  # fmt: skip
    """The record of a table that several versions computed names none, so its bits are not compared."""
    settings = {
        "source": str(image_folder),
        "mix": "none",
        "label_batch_size": 2,
        "num_candidates": 12,
        "label_epochs": 2,
    }
    config = make_config(tmp_path / "run", **settings)
    monkeypatch.setattr("tasks.labels.passes.CPU_ROWS", 2)
    distill(config)
    (path,) = RunFolder(tmp_path / "run").stage("soft_labels").glob("epochs-*.json")
    record = read_record(path)
    record.facts.update(facts)
    write_record(path, record)
    _edit(image_folder)
    monkeypatch.setattr("tasks.labels.passes.CPU_ROWS", rows)
    distill(config)
    made = read_record(path).facts
    assert bool(made.get("reused_views")) is mixed
    assert ("torch" in made["made_with"]) is not ("torch" in facts.get("made_with", {}))
