"""Labels within a budget: the choice fits, is logged, kept and reused; an impossible one is a one-line error."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rded_core.config import DistillConfig, EvaluateConfig
from rded_core.errors import InputError
from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.layout.run import RunFolder
from rded_core.io.run.records import read_record
from rded_core.io.verify.run import find_checked
from tasks.labels.labeller import LabelPlan
from tasks.run.worklist import Worklist
from tasks.verify.files import check_files

MakeConfig = Callable[..., DistillConfig]
Distill = Callable[..., dict[str, Any]]

BUDGET = "15kB"


@pytest.fixture(autouse=True)
def _small_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rded_core.io.labels.choices.SAMPLE_VIEWS", 60)


@pytest.fixture
def distill(plain_flows: None) -> Distill:  # noqa: ARG001
    from flows.distill import distill

    return distill  # type: ignore[return-value]


def _recipe(run: Path) -> dict[str, Any]:
    return json.loads((run / "dataset" / "recipe.json").read_text())


def _choice(run: Path) -> Any:
    return read_record(RunFolder(run).record("soft_labels", "choice"))


@pytest.mark.parametrize("budget", [9_000, 20_000, 10**6])
def test_choice_fits_the_budget_with_the_least_loss(
    make_config: MakeConfig, distill: Distill, tmp_path: Path, budget: int
) -> None:
    record = distill(make_config(tmp_path / "run", label_budget=str(budget)))
    recipe, folder = _recipe(tmp_path / "run"), DatasetFolder(tmp_path / "run" / "dataset")
    assert record["label_bytes"] == sum(path.stat().st_size for path in folder.label_files()) <= budget
    why = recipe["label_choice"]
    best = min((choice for choice in why["choices"] if choice["fits"]), key=lambda choice: choice["loss"])
    assert (recipe["label_codec"], recipe["label_epochs"]) == (best["codec"], best["epochs"])
    assert (recipe["epochs"], why["budget_bytes"], why["num_views"]) == (12, budget, 60)
    assert {choice["codec"] for choice in why["choices"]} == {"float16", "int8", "int4", "features"}
    assert record["label_bytes"] == pytest.approx(best["num_bytes"], rel=0.05)
    assert check_files(find_checked(str(tmp_path / "run"))).faults == []


def test_changed_budget_remakes_only_labels(make_config: MakeConfig, distill: Distill, tmp_path: Path) -> None:
    distill(make_config(tmp_path / "run", label_budget=BUDGET))
    before = _choice(tmp_path / "run")
    again = distill(make_config(tmp_path / "run", label_budget=BUDGET))
    assert not any(entry["made"] for entry in again["work"])
    assert _choice(tmp_path / "run") == before
    changed = distill(make_config(tmp_path / "run", label_budget="10kB"))
    assert {entry["stage"] for entry in changed["work"] if entry["made"]} <= {"label", "publish"}
    assert _choice(tmp_path / "run").facts["why"]["budget_bytes"] == 10_000
    kept = {path.stem for path in (tmp_path / "run" / "work" / "soft_labels").glob("epochs-*.parquet")}
    assert kept == {path.stem for path in (tmp_path / "run" / "dataset" / "soft_labels").iterdir()}


def test_repair_keeps_the_choice_after_the_source_grew(
    make_config: MakeConfig, distill: Distill, image_folder: Path, tmp_path: Path
) -> None:
    from flows.repair import repair

    run = RunFolder(tmp_path / "run")
    distill(make_config(run.root, source=str(image_folder), label_budget=BUDGET))
    before, sums = _choice(run.root), (run.dataset / "SHA256SUMS").read_text()
    shutil.copy(image_folder / "2" / "000.jpg", image_folder / "2" / "new.jpg")
    for table in (run.root / "work" / "soft_labels").glob("epochs-*.parquet"):
        table.write_bytes(table.read_bytes()[:-1])
    shutil.rmtree(run.dataset / "soft_labels")
    assert repair(run, tell=print).faults == []
    assert _choice(run.root) == before
    tables = [line for line in sums.splitlines() if "soft_labels/" in line]
    assert tables == [line for line in (run.dataset / "SHA256SUMS").read_text().splitlines() if "soft_labels/" in line]


def test_topk_is_spelled_as_in_tables(make_config: MakeConfig, distill: Distill, tmp_path: Path) -> None:
    distill(make_config(tmp_path / "run", label_codec="topk:02", label_epochs=2))
    assert _recipe(tmp_path / "run")["label_codec"] == "topk:2"
    again = distill(make_config(tmp_path / "run", label_codec="topk:2", label_epochs=2))
    assert not any(entry["made"] for entry in again["work"] if entry["stage"] == "label")


def test_budget_with_a_given_codec_tries_only_that(make_config: MakeConfig, distill: Distill, tmp_path: Path) -> None:
    distill(make_config(tmp_path / "run", label_budget=BUDGET, label_codec="int4"))
    assert {choice["codec"] for choice in _recipe(tmp_path / "run")["label_choice"]["choices"]} == {"int4"}


def test_comparison_of_codecs_is_logged(
    make_config: MakeConfig, distill: Distill, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        distill(make_config(tmp_path / "run", label_budget=BUDGET, label_epochs=2))
    assert caplog.text.count("<- chosen") == 1
    assert "60 views labelled: at temperature 20 a label carries" in caplog.text


def test_too_small_budget_is_a_one_line_error(make_config: MakeConfig, distill: Distill, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"^a label budget of 50 bytes is too small: one epoch takes at least \d+; raise the budget$"
    ):
        distill(make_config(tmp_path / "run", label_budget="50B"))


def test_features_codec_without_a_last_layer_fails_before_any_work(
    make_config: MakeConfig, distill: Distill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "odd_teacher.py").write_text(
        "from torch import nn\n"
        "def make():\n"
        "    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3), nn.LogSoftmax(dim=1))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = make_config(tmp_path / "run", label_codec="features", teacher="odd_teacher:make")
    with pytest.raises(
        InputError, match="one linear layer of its features, but odd_teacher:make has no such layer"
    ) as caught:
        distill(config)
    assert "\n" not in str(caught.value)
    assert {path.parent.name for path in (tmp_path / "run").rglob("*.parquet")} <= {"index"}


def test_controls_use_the_chosen_labels(
    make_config: MakeConfig, distill: Distill, shared_source: Path, tmp_path: Path
) -> None:
    """Their students also train for as many epochs as the distilled set's."""
    distill(make_config(tmp_path / "run", label_budget=BUDGET))
    from flows.evaluate import evaluate

    config = EvaluateConfig(
        dataset=str(tmp_path / "run"), val=str(shared_source), student="convnet3", seeds=1, device="cpu", workers=1
    )
    table = evaluate(config)
    own, control = _recipe(tmp_path / "run"), _recipe(RunFolder(tmp_path / "run").control("random"))
    names = ("label_codec", "label_epochs")
    assert [own[name] for name in names] == [control[name] for name in names]
    assert own["label_epochs"] < own["epochs"] == table["epochs"] == 12
    records = sorted((tmp_path / "run" / "work" / "students").glob("*s0.json"))
    assert [read_record(path).settings["epochs"] for path in records] == [12, 12]


def test_reused_choice_ends_as_cached(
    prefect_harness: None,  # noqa: ARG001
    make_config: MakeConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from flows.distill import distill as flow

    state_names: list[Any] = []
    end_with = Worklist.end_with

    def note(work: Worklist, result: Any) -> Any:
        state = end_with(work, result)
        if isinstance(result, LabelPlan):
            state_names.append(getattr(state, "name", None))
        return state

    monkeypatch.setattr(Worklist, "end_with", note)
    for _ in range(2):
        flow(make_config(tmp_path / "run", label_budget=BUDGET, label_epochs=2))
    assert state_names == [None, "Cached"]
