"""What an operator sees of a run: names, artifacts and states; without secrets in anything a run leaves behind."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

from flows.distill import distill
from rded_core.config import DistillConfig
from rded_core.errors import StageFailed
from tasks.patches import score as realism
from tasks.runtime.artifacts import key_of

MakeConfig = Callable[..., DistillConfig]
SECRET = "hunter2"


class _Run:
    """All that the server knows about a flow run."""

    def __init__(self, config: DistillConfig) -> None:
        state: Any = distill(config, return_state=True)
        run_id = state.state_details.flow_run_id
        only = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
        with get_client(sync_client=True) as client:
            self.run = client.read_flow_run(run_id)
            self.tasks = {run.name: run for run in client.read_task_runs(flow_run_filter=only)}
            artifacts = client.read_artifacts(flow_run_filter=only)
        self.state = state
        self.artifacts = {artifact.key: artifact for artifact in artifacts if artifact.key}


@pytest.fixture(scope="module")
def flow_run(prefect_harness: None, make_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> _Run:  # noqa: ARG001
    return _Run(make_config(tmp_path_factory.mktemp("view") / "photos", label_epochs=2))


def test_runs_are_named_by_what_they_do(flow_run: _Run) -> None:
    assert flow_run.run.name == "distill source · realism · ipc 2"
    shards = [
        f"{word} {shard} · source"
        for word in ("draw", "score", "select", "tile")
        for shard in ("0000-0001", "0002-0002")
    ]
    others = ["prepare", "check observer", "choose labels", "label epochs 0-1", "publish"]
    assert set(flow_run.tasks) == {*shards, *(f"{word} · source" for word in others)}


def test_classes_summary_and_progress_are_created(flow_run: _Run) -> None:
    out = flow_run.run.parameters["config"]["out"]
    rows = json.loads(flow_run.artifacts[key_of(out, "classes")].data)
    assert [row["class"] for row in rows] == ["1", "10", "2"]
    assert all(row["candidates"] == 10 and row["made"] == "list, draw, score, select, tile" for row in rows)
    assert all(float(row["best (nats)"]) >= float(row["median (nats)"]) and row["seconds"] > 0 for row in rows)
    page = flow_run.artifacts[key_of(out, "summary")]
    assert "| images | 6 in 3 classes, from 36 source images |" in page.data
    assert "](data:image/jpeg;base64," in page.data
    assert len(page.data) < 300_000
    bar = flow_run.artifacts[key_of(out, "progress")]
    assert (bar.data, bar.description, bar.task_run_id) == (100, "done", None)


@pytest.mark.usefixtures("prefect_harness")
def test_failure_names_the_task_run(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The signature of a URL that an error quotes is in no state, log, artifact, or file."""

    def fail(*_: object) -> None:
        raise OSError(f"403 of https://host/a?X-Amz-Signature={SECRET}")

    monkeypatch.setattr(realism, "_score_in_groups", fail)
    failed = _Run(make_config(tmp_path / "photos"))
    message = (
        "score 0000-0001 · source failed: OSError: 403 of https://host/a?X-Amz-Signature=***; "
        "start the same run again to resume it"
    )
    assert message in str(failed.tasks["score 0000-0001 · source"].state.message)
    assert message in str(failed.run.state.message)
    with pytest.raises(StageFailed):
        failed.state.result()
    kept = [failed.run.model_dump_json(), *(run.model_dump_json() for run in failed.tasks.values())]
    assert "X-Amz-Signature=***" in caplog.text
    kept += [caplog.text] + [artifact.model_dump_json() for artifact in failed.artifacts.values()]
    assert SECRET not in "".join(kept)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
