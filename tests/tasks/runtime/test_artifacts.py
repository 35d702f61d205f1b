"""Artifacts in Prefect's UI: texts made without Prefect, and artifacts that never stop a run."""

import io
import json
import logging
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from prefect import flow

from rded_core.io.report.pictures import shrink_jpeg
from rded_core.text.summaries import (
    accuracy_rows,
    artifact_key,
    class_rows,
    describe_evaluation,
    describe_reasons,
    distilled_markdown,
    in_code,
)
from tasks.runtime import artifacts
from tasks.runtime.artifacts import ProgressArtifact, key_of, show_markdown, show_table
from tasks.runtime.logs import mask_record
from tasks.runtime.progress import track, track_parts

RECORD: dict[str, Any] = {
    "dataset": "/data/run/dataset",
    "out": "/data/run",
    "warnings": ["the observer is no *better*"],
    "num_images": 4,
    "num_classes": 2,
    "num_source": 24,
    "image_bytes": 61400,
    "label_bytes": 1200,
    "label_epochs": 10,
    "training_epochs": 300,
    "label_codec": "int8",
    "observer_top1": 0.617,
    "rejected": {"truncated": 1, "empty": 2},
    "work": [{"stage": "score", "reused": 1, "made": 1, "left_out": 0, "why": {"seed changed": 1}}],
}


def _entry(**changes: Any) -> dict[str, Any]:
    entry = {"index": 0, "name": "cat", "folder": "cat", "num_candidates": 9, "num_images": 2, "rejected": {}}
    return {**entry, "median_score_nats": -0.25, **changes}


def test_class_rows_show_counts_scores_and_work() -> None:
    entries = [_entry(), _entry(index=1, name="dog", folder="n01", rejected={"empty": 2}, median_score_nats=None)]
    first, second = class_rows(entries, {0: -0.001}, {0: (1.26, ["score", "select"]), 1: (0.0, [])})
    assert first == {
        "class": "cat",
        "candidates": 9,
        "rejected": "0",
        "images": 2,
        "best (nats)": "-0.001",
        "median (nats)": "-0.25",
        "seconds": 1.3,
        "made": "score, select",
    }
    assert (second["class"], second["rejected"], second["best (nats)"], second["made"]) == (
        "dog (n01)", "2 empty", "–", "reused",
    )  # fmt: skip


def test_the_page_says_what_was_made_and_why() -> None:
    page = distilled_markdown("photos, realism, ipc 2", RECORD)
    assert "| images | 4 in 2 classes, from 24 source images |" in page
    assert "| labels | 10 of 300 epochs, int8 |" in page
    assert "| rejected | 2 empty, 1 truncated |" in page
    assert "`/data/run/dataset/report/index.html`" in page
    assert "| score | 1 | 1 | 0 | seed changed |" in page
    assert r"**Warning:** the observer is no \*better\*" in page


def test_the_page_of_a_run_that_published_nothing() -> None:
    page = distilled_markdown("photos", {**RECORD, "dataset": None, "why_missing": "1 of 2 classes has no images yet"})
    assert "**Nothing published:** 1 of 2 classes has no images yet" in page
    assert "| images |" not in page


def test_reasons_are_counted_and_limited() -> None:
    assert describe_reasons({"seed changed": 3}) == "seed changed"
    assert describe_reasons({"a": 3, "b": 1}) == "3 a; b"
    assert describe_reasons({"a": 4, "b": 3, "c": 2, "d": 1}) == "4 a; 3 b; 2 c; ..."


def test_accuracy_table_includes_controls() -> None:
    measure = {"mean": 0.588, "std": 0.004}
    sets = {name: dict.fromkeys(("last_top1", "best_top1", "last_top5"), measure) for name in ("distilled", "random")}
    table = {
        "sets": sets,
        "num_classes": 10,
        "num_seeds": 3,
        "student": "convnet3",
        "dataset": "run",
        "epochs": 10,
        "protocol": "paper",
    }
    rows = accuracy_rows(table)
    assert [row["trained on"] for row in rows] == ["distilled", "random"]
    assert rows[0]["top-1 last"] == "58.8 ± 0.4 %"
    description = describe_evaluation({**table, "ipc": 1, "val": "photos", "val_is_source": True})
    assert description.endswith(
        "measured on photos. Measured on the images the dataset was distilled from: not a fair measure."
    )


def test_keys_depend_on_the_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert key_of("Run_1", "classes") == key_of(str(tmp_path / "Run_1"), "classes") != key_of("b/Run_1", "classes")
    assert key_of("Run_1", "classes").startswith("run-1-")
    assert artifact_key("Ünï §", "0123456789", "x") == "n-012345-x"
    assert artifact_key("§", "0123456789", "x") == "run-012345-x"


def test_key_of_a_control_starts_with_its_runs_name(tmp_path: Path) -> None:
    control = tmp_path / "photos" / "work" / "controls" / "random"
    control.mkdir(parents=True)
    (tmp_path / "photos" / "run.json").touch()
    assert key_of(str(control), "summary").startswith("photos-random-")


def test_text_cannot_break_out_of_inline_code() -> None:
    assert in_code("a`b|c\nd") == "`abc d`"


def test_picture_is_shrunk_to_fit() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (400, 600, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, format="JPEG", quality=95)
    small = shrink_jpeg(buffer.getvalue(), 30_000)
    assert len(small) <= 30_000
    width, height = Image.open(io.BytesIO(small)).size
    assert abs(width / height - 1.5) < 0.05
    assert shrink_jpeg(small, 30_000) is small


def test_server_is_not_called_outside_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "get_client", lambda **_: pytest.fail("the server was called"))
    show_table("a-table", [{"class": "cat"}], "classes")
    show_markdown("a-page", "text", "page")
    ProgressArtifact("a-bar").update(0.5, "half", at_once=True)
    assert list(track(range(3), total=3, what="look", unit="file")) == [0, 1, 2]


@flow
def _showing(secret: str) -> str:
    bar = ProgressArtifact("test-run-progress")
    bar.update(0.1, "too early")
    bar.update(0.25, f"read https://me:{secret}@host/a", at_once=True)
    bar.update(0.2, "never back", at_once=True)
    show_table("test-run-classes", [{"class": f"sig?token={secret}", "candidates": 3}], "classes")
    show_markdown("test-run-summary", f"s3://key:{secret}@bucket", f"password={secret}", picture="![x](data:,)")
    return "done"


@pytest.fixture
def read_shown(prefect_harness: None) -> Any:  # noqa: ARG001
    """Reads all artifacts of one key, oldest first."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    def read(key: str) -> list[Any]:
        with get_client(sync_client=True) as client:
            artifacts_of_key = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))
        return sorted(artifacts_of_key, key=lambda artifact: artifact.created)

    return read


def test_a_run_shows_its_artifacts_without_secrets(read_shown: Any) -> None:
    _showing("hunter2")
    (bar,), (table,), (page,) = (read_shown(f"test-run-{what}") for what in ("progress", "classes", "summary"))
    assert (bar.data, bar.description) == (25, "never back")
    assert json.loads(table.data) == [{"class": "sig?token=***", "candidates": 3}]
    assert page.data == "s3://***@bucket![x](data:,)"
    assert "hunter2" not in f"{bar} {table} {page}"


def test_bar_follows_tracked_progress(read_shown: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "UPDATE_EVERY_S", 0.0)
    shares: list[tuple[float, str]] = []
    monkeypatch.setattr(ProgressArtifact, "update", lambda _, share, text: shares.append((round(share, 3), text)))

    @flow
    def training() -> None:
        for epoch in track_parts(range(1, 3), total=4):
            list(track("ab", total=2, what=f"epoch {epoch}", unit="step"))

    training()
    assert shares == [
        (0.375, "epoch 1: 1 of 2 steps"),
        (0.5, "epoch 1: 2 of 2 steps"),
        (0.625, "epoch 2: 1 of 2 steps"),
        (0.75, "epoch 2: 2 of 2 steps"),
    ]
    assert not read_shown("none")


def test_unreachable_server_does_not_stop_a_run(
    read_shown: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    attempts: list[float] = []

    def refuse(**_: Any) -> Any:
        attempts.append(time.monotonic())
        raise httpx.ConnectError("refused by https://me:hunter2@server")

    monkeypatch.setattr(artifacts, "get_client", refuse)
    monkeypatch.setattr(artifacts, "_quiet_until", 0.0)
    with caplog.at_level(logging.WARNING, logger="prefect.flow_runs"):
        assert _showing("x") == "done"
    assert len(attempts) == 1, "tried once, then left alone"
    messages = [record.getMessage() for record in caplog.records if "could not update" in record.getMessage()]
    assert len(messages) == 1
    assert "continuing without them" in messages[0]
    assert "hunter2" not in messages[0]
    assert read_shown("none") == []


def test_logs_and_tracebacks_hold_no_secret() -> None:
    try:
        raise OSError("cannot read https://me:hunter2@host/a")
    except OSError as error:
        info = (type(error), error, error.__traceback__)
    record = logging.LogRecord("prefect.task_runs", logging.ERROR, "", 0, "read %s", ("s3://a:hunter2@b",), info)
    assert mask_record(record)
    text = logging.Formatter().format(record)
    assert "hunter2" not in text
    assert "read s3://***@b" in text
    assert "OSError: cannot read https://***@host/a" in text
