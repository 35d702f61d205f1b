"""Setting up a run: the contents of run.json, and which OUT is accepted."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prefect.utilities.collections import visit_collection

from rded_core.config import DistillConfig
from rded_core.errors import InputError, RunStopped
from rded_core.io.networks.weights import read_weights
from rded_core.io.sources.base import Source, name_classes
from tasks.labels.labeller import load_labeller
from tasks.run.networks import load_device_scorers, load_scorer
from tasks.run.prepare import log_classes, prepare

MakeConfig = Callable[..., DistillConfig]


def test_run_json_holds_what_the_result_depends_on(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(tmp_path / "run")
    prepare.fn(config)
    described = json.loads((tmp_path / "run" / "run.json").read_text())
    assert DistillConfig(**described["config"]) == config
    assert described["source"]["num_images"] == 36
    assert {"rded", "python", "torch", "pillow", "pyarrow"} <= set(described["versions"])
    assert len(described["observer"]["digest"]) == len(described["source"]["digest"]) == 64


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"seed": 3}, "seed 0 -> 3"),
        ({"ipc": 1, "flip": False}, "ipc 2 -> 1, flip True -> False"),
        ({"classes": ("1", "2")}, "classes None -> ['1', '2'], source images"),
        ({"workers": 1, "classes_per_shard": 1, "max_rejected": 0.5}, None),
    ],
)
def test_changed_settings_in_the_same_out_are_logged(
    make_config: MakeConfig,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, Any],
    expected: str | None,
) -> None:
    prepare.fn(make_config(tmp_path / "run"))
    config = make_config(tmp_path / "run", **changes)
    with caplog.at_level("INFO", logger="rded"):
        prepare.fn(config)
    messages = [record.getMessage() for record in caplog.records if "changed since" in record.getMessage()]
    assert messages == ([f"changed since the last run in {tmp_path / 'run'}: {expected}"] if expected else [])
    for path in (tmp_path / "run" / "run.json", tmp_path / "run" / "work" / "run.json"):
        described = json.loads(path.read_text())["config"]
        assert DistillConfig(**{**described, "classes": described["classes"] and tuple(described["classes"])}) == config


def test_out_of_different_images_is_refused(make_config: MakeConfig, image_folder: Path, tmp_path: Path) -> None:
    """Continuing would replace, class by class, what was distilled from a different source."""
    prepare.fn(make_config(tmp_path / "run"))
    before = (tmp_path / "run" / "run.json").read_bytes()
    for name in ("1", "10", "2"):
        (image_folder / name).rename(image_folder / f"other {name}")
    (tmp_path / "classes.txt").write_text("other 1\nother 10\nother 2\n")
    config = make_config(tmp_path / "run", source=str(image_folder), observer_classes=str(tmp_path / "classes.txt"))
    with pytest.raises(InputError, match=r"holds a run of different images \(.*source\); choose another --out"):
        prepare.fn(config)
    assert (tmp_path / "run" / "run.json").read_bytes() == before


def test_a_moved_source_is_the_same_run(
    make_config: MakeConfig, image_folder: Path, tmp_path: Path, run_undecorated: Callable[..., Path]
) -> None:
    dataset = run_undecorated(make_config(tmp_path / "run", source=str(image_folder)))
    sums = (dataset / "SHA256SUMS").read_bytes()
    scored = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "work" / "realism").iterdir()}
    image_folder.rename(tmp_path / "elsewhere")
    run_undecorated(make_config(tmp_path / "run", source=str(tmp_path / "elsewhere")))
    assert (dataset / "SHA256SUMS").read_bytes() == sums
    assert {path: path.stat().st_mtime_ns for path in scored} == scored


def test_retrained_weights_in_the_same_file_are_a_different_observer(
    make_config: MakeConfig, save_untrained: Callable[..., Path], trained_weights: Path, tmp_path: Path
) -> None:
    """A worker that serves several runs must not keep a network whose file has changed."""
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(trained_weights.read_bytes())
    config = make_config(tmp_path / "run", weights=str(weights))
    first = prepare.fn(config).observer
    weights.write_bytes(save_untrained().read_bytes())
    assert prepare.fn(config).observer != first


def test_weights_replaced_during_a_run_stop_it(
    make_config: MakeConfig, save_untrained: Callable[..., Path], trained_weights: Path, tmp_path: Path
) -> None:
    """Otherwise their results would be recorded under the weights that the run began with."""
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(trained_weights.read_bytes())
    plan = prepare.fn(make_config(tmp_path / "run", weights=str(weights)))
    load_scorer(plan)
    weights.write_bytes(save_untrained().read_bytes())
    for load in (load_scorer, load_device_scorers, partial(load_labeller, codec="float16")):
        with pytest.raises(RunStopped, match=r"^the (observer|teacher)'s weights were replaced during the run; run"):
            load(plan)


def test_damaged_run_json_is_restored_from_its_copy(make_config: MakeConfig, tmp_path: Path) -> None:
    prepare.fn(make_config(tmp_path / "run"))
    path = tmp_path / "run" / "run.json"
    whole = path.read_bytes()
    path.write_text('{"config": ')
    prepare.fn(make_config(tmp_path / "run"))
    assert path.read_bytes() == whole


def test_damaged_run_json_without_a_copy_is_named(make_config: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"config": ')
    with pytest.raises(InputError, match=r"run.json and its copy are damaged.*choose another --out"):
        prepare.fn(make_config(tmp_path / "run"))


def test_separate_teacher_is_recorded(
    make_config: MakeConfig, save_untrained: Callable[..., Path], trained_weights: Path, tmp_path: Path
) -> None:
    teacher = save_untrained(arch="convnet4")
    plan = prepare.fn(make_config(tmp_path / "run", teacher="rded:convnet4", teacher_weights=str(teacher)))
    assert plan.teacher != plan.observer
    assert read_weights(str(trained_weights))[1]["classes"] == [label.folder for label in plan.classes]


def test_prefect_does_not_walk_into_a_plan(make_config: MakeConfig, tmp_path: Path) -> None:
    """Otherwise it would visit every class of ImageNet twice per task run."""
    plan = prepare.fn(make_config(tmp_path / "run"))
    seen: list[object] = []
    visit_collection({"plan": plan}, visit_fn=seen.append, return_data=False)
    assert plan in seen
    assert not [value for value in seen if value is plan.config or value in plan.classes]


def test_out_of_different_images_is_refused_even_without_run_json(
    make_config: MakeConfig, image_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    prepare.fn(make_config(run))
    for path in (run / "run.json", run / "work" / "run.json"):
        path.unlink()
    for name in ("1", "10", "2"):
        (image_folder / name).rename(image_folder / f"other {name}")
    (tmp_path / "classes.txt").write_text("other 1\nother 10\nother 2\n")
    config = make_config(run, source=str(image_folder), observer_classes=str(tmp_path / "classes.txt"))
    with pytest.raises(
        InputError, match=r"holds a run of different images \(.*\), whose run.json .*choose another --out"
    ):
        prepare.fn(config)
    assert not (run / "run.json").exists()
    prepare.fn(make_config(run))
    assert (run / "run.json").exists()


def test_the_class_order_is_logged_on_one_line(caplog: pytest.LogCaptureFixture) -> None:
    classes = name_classes(["two\nlines", "nul\0", "猫　犬", *map(str, range(9))])
    with caplog.at_level("INFO", logger="rded"):
        log_classes(Source("a.tar", classes, ((),) * 12))
    (record,) = caplog.records
    assert record.getMessage() == (
        r"a.tar: 0 images, 12 classes in this order: two\nlines, nul\x00, 猫　犬, 0, 1, 2, 3, 4, 5, 6 ..."
    )
