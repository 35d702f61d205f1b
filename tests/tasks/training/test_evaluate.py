"""Setting up an evaluation: mistakes are errors before anything is trained."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rded_core.config import DistillConfig, EvaluateConfig
from rded_core.errors import InputError
from tasks.training.evaluate import prepare_evaluation, summarise_students


@pytest.fixture(scope="module")
def run(
    make_config: Callable[..., DistillConfig],
    run_undecorated: Callable[[DistillConfig], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    out = tmp_path_factory.mktemp("evaluation") / "run"
    run_undecorated(make_config(out, label_epochs=2, ipc=1))
    return out


def _config(dataset: Path, val: Path, **changes: Any) -> EvaluateConfig:
    return EvaluateConfig(dataset=str(dataset), val=str(val), **{"student": "convnet3", "device": "cpu", **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocol": "standard"}, "labels of views drawn for --protocol paper, not standard; distil with --protocol"),
        ({"protocol": "hard", "loss": "gift"}, "--loss gift needs soft labels"),
        ({"student": "resnet99"}, "unknown network 'resnet99' .*choose convnet3"),
        ({"student": "convnet6"}, "size must be >= 64, got 32"),
    ],
)
def test_impossible_setup_is_an_error(run: Path, shared_source: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        prepare_evaluation.fn(_config(run, shared_source, **changes))
    assert not (run / "evaluations").exists()


def test_controls_need_the_run_folder(run: Path, shared_source: Path, tmp_path: Path) -> None:
    published = shutil.copytree(run / "dataset", tmp_path / "published")
    with pytest.raises(InputError, match=r"outside its run folder.*--controls none"):
        prepare_evaluation.fn(_config(published, shared_source))
    plan = prepare_evaluation.fn(_config(published, shared_source, controls=()))
    assert plan.run.root == tmp_path / "published-evaluation"


def test_dataset_inside_its_run_finds_the_run(run: Path, shared_source: Path) -> None:
    plan = prepare_evaluation.fn(_config(run / "dataset", shared_source, controls=("random", "mosaic")))
    assert plan.run.root.resolve() == run.resolve()
    assert {name: control.selection for name, control in plan.controls.items()} == {
        "random": "random",
        "mosaic": "mosaic",
    }
    own = json.loads((run / "run.json").read_text())["config"]
    assert all(control.ipc == own["ipc"] and control.seed == own["seed"] for control in plan.controls.values())


def test_unfinished_run_is_an_error(run: Path, shared_source: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(copied / "dataset")
    with pytest.raises(InputError, match=r"no distilled dataset .*rerun rded distill to resume it"):
        prepare_evaluation.fn(_config(copied, shared_source))


@pytest.mark.parametrize("name", ["recipe.json", "classes.json"])
def test_damaged_json_file_is_named(run: Path, shared_source: Path, tmp_path: Path, name: str) -> None:
    copied = shutil.copytree(run, tmp_path / "run")
    (copied / "dataset" / name).write_text("{")
    with pytest.raises(InputError, match=name):
        prepare_evaluation.fn(_config(copied, shared_source))


def test_files_that_classes_of_the_validation_images_lose_are_a_warning(
    run: Path, image_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        (image_folder / "10" / f"{number}.heic").write_bytes(b"x")
    with caplog.at_level("INFO", logger="rded"):
        prepare_evaluation.fn(_config(run, image_folder))
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    reason = "files that end in .heic, which is not read: 3 (the first: 10/0.heic)"
    assert f"left out of {image_folder}: {reason}" in warnings


def test_a_class_of_the_validation_images_does_not_vanish(run: Path, image_folder: Path) -> None:
    for path in (image_folder / "10").iterdir():
        path.rename(path.with_suffix(".heic"))
    with pytest.raises(InputError, match=r"files of class '10' are left out .*, so the class would vanish; "):
        prepare_evaluation.fn(_config(run, image_folder))


def test_deviation_over_seeds_is_the_sample_deviation() -> None:
    students = [{"last_top1": value, "last_top5": 1.0, "best_top1": value} for value in (0.2, 0.4, 0.6)]
    summary = summarise_students(students)
    assert summary["last_top1"]["mean"] == pytest.approx(0.4)
    assert summary["last_top1"]["std"] == pytest.approx(0.2)
    assert summary["last_top5"]["std"] == 0.0
    assert summarise_students(students[:1])["best_top1"] == {"mean": 0.2, "std": None}


def test_missing_label_table_is_noticed_before_training(run: Path, shared_source: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(run, tmp_path / "run"))
    (table,) = (copied / "dataset" / "soft_labels").iterdir()
    table.unlink()
    with pytest.raises(InputError, match=rf"{table.name} is missing; run rded repair {copied} to restore it"):
        prepare_evaluation.fn(_config(copied, shared_source))
    prepare_evaluation.fn(_config(copied, shared_source, protocol="hard"))
    published = shutil.copytree(copied / "dataset", tmp_path / "published")
    with pytest.raises(InputError, match=r"is missing; fetch it again"):
        prepare_evaluation.fn(_config(published, shared_source, controls=()))
