"""The evaluate flow: students of a dataset and of its controls, from the run folder or the dataset alone."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from flows.evaluate import evaluate
from rded_core.config import EvaluateConfig
from rded_core.errors import InputError
from rded_core.io.formats.sealed import read_sealed
from rded_core.io.layout.units import class_unit
from rded_core.io.storage.swap import swap_folder
from tasks.training import train_student as students

SUMMARIES = ("last_top1", "last_top5", "best_top1")


def _config(dataset: Path, val: Path, **changes: Any) -> EvaluateConfig:
    fields = {"student": "convnet3", "seeds": 2, "epochs": 2, "workers": 2, "device": "cpu"}
    return EvaluateConfig(dataset=str(dataset), val=str(val), **{**fields, **changes})


@pytest.fixture(scope="module")
def evaluated(
    finished_run: Path, shared_source: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    run = Path(shutil.copytree(finished_run, tmp_path_factory.mktemp("evaluated") / "run"))
    return run, evaluate(_config(run, shared_source))


def test_table_holds_every_set_with_accuracies(evaluated: tuple[Path, dict[str, Any]]) -> None:
    run, table = evaluated
    assert list(table["sets"]) == ["distilled", "random"]
    assert (table["epochs"], table["num_seeds"], table["ipc"], table["num_classes"]) == (2, 2, 2, 3)
    for summary in table["sets"].values():
        assert len(summary["students"]) == 2
        for measure in SUMMARIES:
            values = [student[measure] for student in summary["students"]]
            assert all(0.0 <= value <= 1.0 for value in values)
            assert summary[measure]["mean"] == pytest.approx(sum(values) / 2)
            assert summary[measure]["std"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
        for student in summary["students"]:
            assert student["best_top1"] >= student["last_top1"]
            assert student["last_top5"] == 1.0, "of three classes the target is always among five"
            assert student["num_val"] == 36
    assert read_sealed(Path(table["path"])) == table
    assert Path(table["path"]).parent == run / "evaluations"


def test_control_reuses_the_candidates(evaluated: tuple[Path, dict[str, Any]]) -> None:
    """They are not drawn, or decoded for the observer, again: a control only differs from the selection on."""
    work = evaluated[0] / "work"
    assert {path.name for path in (work / "controls" / "random" / "work").iterdir()} == {
        "realism",
        "selection",
        "squeeze",
        "soft_labels",
        "publish",
        "run.json",
    }
    drawn = [row["position"] for row in _rows(work / "realism")]
    assert [row["position"] for row in _rows(work / "controls" / "random" / "work" / "realism")] == drawn


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [row for table in sorted(folder.glob("*.parquet")) for row in pq.read_table(table).to_pylist()]


def test_control_has_the_same_ipc_and_label_budget(evaluated: tuple[Path, dict[str, Any]]) -> None:
    run, _ = evaluated
    control = json.loads((run / "work" / "controls" / "random" / "dataset" / "recipe.json").read_text())
    own = json.loads((run / "dataset" / "recipe.json").read_text())
    assert (control["selection"], own["selection"]) == ("random", "realism")
    same = ("ipc", "num_images", "label_epochs", "size", "protocol", "seed", "teacher", "mean", "std")
    assert {name: control[name] for name in same} == {name: own[name] for name in same}
    assert control["views"]["crop_scale_min"] == own["views"]["crop_scale_min"]


def test_evaluating_leaves_the_dataset_as_it_was(evaluated: tuple[Path, dict[str, Any]], finished_run: Path) -> None:
    sums = "dataset/SHA256SUMS"
    assert (evaluated[0] / sums).read_text() == (finished_run / sums).read_text()


@pytest.mark.usefixtures("plain_flows")
def test_finished_students_are_reused(evaluated: tuple[Path, dict[str, Any]], shared_source: Path) -> None:
    run, table = evaluated
    students = run / "work" / "students"
    before = {path.name: path.stat().st_mtime_ns for path in students.iterdir()}
    again = evaluate.fn(_config(run, shared_source, controls=(), seeds=3))
    assert again["sets"]["distilled"]["students"][:2] == table["sets"]["distilled"]["students"]
    after = {path.name: path.stat().st_mtime_ns for path in students.iterdir()}
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 2, "the third seed's result and record"


@pytest.mark.usefixtures("plain_flows")
def test_dataset_alone_can_be_evaluated(finished_run: Path, shared_source: Path, tmp_path: Path) -> None:
    published = shutil.copytree(finished_run / "dataset", tmp_path / "published")
    table = evaluate.fn(_config(published, shared_source, controls=(), seeds=1, epochs=1))
    assert list(table["sets"]) == ["distilled"]
    assert table["sets"]["distilled"]["last_top1"]["std"] is None
    files = {path.relative_to(published).as_posix() for path in published.rglob("*") if path.is_file()}
    named = {line.split("  ")[1] for line in (published / "SHA256SUMS").read_text().splitlines()}
    assert files == named | {"SHA256SUMS"}, "results go next to a published dataset, not into it"


@pytest.mark.usefixtures("plain_flows")
@pytest.mark.parametrize(
    ("changes", "has_same_loss"),
    [({"protocol": "hard"}, False), ({"loss": "gift"}, False), ({"lr": 0.1}, False), ({"extra_forward": True}, True)],
)
def test_other_ways_to_train(
    evaluated: tuple[Path, dict[str, Any]], shared_source: Path, changes: dict[str, Any], has_same_loss: bool
) -> None:
    """The extra forward pass only moves BatchNorm's statistics, which do not affect the training loss."""
    run, plain = evaluated
    table = evaluate.fn(_config(run, shared_source, controls=(), seeds=1, **changes))
    assert table["protocol"] == changes.get("protocol", "paper")
    student = table["sets"]["distilled"]["students"][0]
    assert 0.0 <= student["last_top1"] <= 1.0
    before = plain["sets"]["distilled"]["students"][0]["loss"]
    assert (student["loss"] == pytest.approx(before, rel=1e-5)) is has_same_loss


@pytest.mark.usefixtures("plain_flows")
def test_control_is_refused_after_the_source_changed(
    image_folder: Path, make_config: Any, run_undecorated: Any, tmp_path: Path
) -> None:
    run_undecorated(make_config(tmp_path / "run", source=str(image_folder)))
    index = (tmp_path / "run" / "work" / "index" / f"{class_unit('1')}.parquet").read_bytes()
    shutil.copy(image_folder / "1" / "000.jpg", image_folder / "1" / "new.jpg")
    with pytest.raises(InputError, match=r"source changed since .*run was distilled.*--controls none"):
        evaluate.fn(_config(tmp_path / "run", image_folder))
    assert (tmp_path / "run" / "work" / "index" / f"{class_unit('1')}.parquet").read_bytes() == index


@pytest.mark.usefixtures("plain_flows")
def test_dataset_in_the_current_folder(
    finished_run: Path, shared_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = shutil.copytree(finished_run / "dataset", tmp_path / "published")
    monkeypatch.chdir(published)
    table = evaluate.fn(_config(Path(), shared_source, controls=(), seeds=1, epochs=1))
    assert Path(table["path"]).parent == tmp_path / "published-evaluation" / "evaluations"


@pytest.mark.usefixtures("plain_flows")
@pytest.mark.parametrize("is_missing", [True, False], ids=["missing", "different"])
def test_no_result_if_the_dataset_is_replaced_during_training(
    finished_run: Path, shared_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_missing: bool
) -> None:
    """Labels are read by path in each epoch: those of a different dataset do not belong to the images in memory."""
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    train_epoch = students.train_epoch

    def replace_dataset(*arguments: Any, **named: Any) -> float:
        (run / "dataset").rename(tmp_path / "old")
        if not is_missing:
            shutil.copytree(tmp_path / "old", run / "dataset")
            (run / "dataset" / "SHA256SUMS").write_text("of another dataset")
        return train_epoch(*arguments, **named)

    monkeypatch.setattr(students, "train_epoch", replace_dataset)
    with pytest.raises(InputError, match=r"dataset changed while .*; run the same rded evaluate again"):
        evaluate.fn(_config(run, shared_source, controls=(), seeds=1, epochs=1))
    assert not (run / "work" / "students").exists()
    assert not (run / "evaluations").exists()


@pytest.mark.usefixtures("plain_flows")
def test_no_table_if_the_dataset_is_replaced_between_students(
    finished_run: Path, shared_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    write_result, written = students.write_result, list[Path]()

    def replace_dataset(path: Path, *arguments: Any) -> None:
        write_result(path, *arguments)
        if not written:
            with (run / "dataset" / "SHA256SUMS").open("a") as stream:
                stream.write("0" * 64 + "  another\n")
        written.append(path)

    monkeypatch.setattr(students, "write_result", replace_dataset)
    with pytest.raises(InputError, match="dataset changed while"):
        evaluate.fn(_config(run, shared_source, controls=(), epochs=1))
    assert len(written) == 2
    assert not (run / "evaluations").exists()


@pytest.mark.usefixtures("plain_flows")
def test_students_are_retrained_after_validation_images_were_rewritten(
    finished_run: Path, image_folder: Path, tmp_path: Path
) -> None:
    """Names and sizes are unchanged: only modification times differ."""
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    config = _config(run, image_folder, controls=(), seeds=1, epochs=1)
    evaluate.fn(config)
    (record,) = (path for path in (run / "work" / "students").iterdir() if "result" not in path.name)
    before = record.stat().st_mtime_ns
    evaluate.fn(config)
    assert record.stat().st_mtime_ns == before
    for path in (image_folder / "10").iterdir():
        data = bytearray(path.read_bytes())
        data[-40] ^= 1
        path.write_bytes(data)
    evaluate.fn(config)
    assert record.stat().st_mtime_ns != before


@pytest.mark.usefixtures("plain_flows")
def test_error_names_a_dataset_replaced_by_one_with_fewer_classes(
    finished_run: Path, shared_source: Path, make_config: Any, run_undecorated: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Its labels have one column per class, which does not fit the network for the earlier dataset."""
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    other = run_undecorated(make_config(tmp_path / "other", classes=("1", "2")))
    train_epoch, epochs = students.train_epoch, list[float]()

    def replace_dataset(*arguments: Any, **named: Any) -> float:
        if not epochs:
            swap_folder(other, run / "dataset")
        epochs.append(train_epoch(*arguments, **named))
        return epochs[-1]

    monkeypatch.setattr(students, "train_epoch", replace_dataset)
    with pytest.raises(InputError, match=r"dataset changed while .*; run the same rded evaluate again"):
        evaluate.fn(_config(run, shared_source, controls=(), seeds=1, epochs=12))
    assert not (run / "work" / "students").exists()
    assert len(epochs) <= 1, "noticed at the end of the epoch at the latest, long before the first look"


@pytest.mark.usefixtures("plain_flows")
@pytest.mark.parametrize("is_replaced", [True, False])
def test_training_error_names_a_replaced_dataset_only_if_it_was_replaced(
    finished_run: Path, shared_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_replaced: bool
) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))

    def fail(*_: Any, **__: Any) -> float:
        if is_replaced:
            (run / "dataset" / "SHA256SUMS").write_text("of another dataset")
        raise RuntimeError("tensors do not match")

    monkeypatch.setattr(students, "train_epoch", fail)
    error, message = (InputError, "dataset changed while") if is_replaced else (RuntimeError, "do not match")
    with pytest.raises(error, match=message):
        evaluate.fn(_config(run, shared_source, controls=(), seeds=1, epochs=1))
