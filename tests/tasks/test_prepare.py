"""Setting up a run: what run.json says, and which OUT is taken."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect.utilities.collections import visit_collection

from rded_core.config import DistillConfig
from rded_core.errors import InputError
from rded_core.io.weights import read_weights
from tasks.prepare import prepare

MakeConfig = Callable[..., DistillConfig]


def test_run_json_holds_what_the_result_depends_on(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(tmp_path / "run")
    prepare.fn(config)
    described = json.loads((tmp_path / "run" / "run.json").read_text())
    assert DistillConfig(**described["config"]) == config
    assert described["source"]["num_images"] == 36
    assert {"rded", "python", "torch", "pillow", "pyarrow"} <= set(described["versions"])
    assert len(described["observer"]["digest"]) == len(described["source"]["digest"]) == 64


@pytest.mark.parametrize(("name", "value"), [("seed", 3), ("ipc", 1), ("image_format", "webp"), ("flip", False)])
def test_out_of_another_run_is_refused(make_config: MakeConfig, tmp_path: Path, name: str, value: object) -> None:
    prepare.fn(make_config(tmp_path / "run"))
    before = (tmp_path / "run" / "run.json").read_bytes()
    with pytest.raises(InputError, match=rf"already holds another run \(config.{name} was .*choose another --out"):
        prepare.fn(make_config(tmp_path / "run", **{name: value}))
    assert (tmp_path / "run" / "run.json").read_bytes() == before


def test_run_of_another_algorithm_version_is_named_as_such(make_config: MakeConfig, tmp_path: Path) -> None:
    prepare.fn(make_config(tmp_path / "run"))
    path = tmp_path / "run" / "run.json"
    described = json.loads(path.read_text())
    path.write_text(json.dumps({**described, "algorithm_version": 1}))
    with pytest.raises(InputError, match=r"holds a run of another rded \(algorithm version 1, now \d+\); choose"):
        prepare.fn(make_config(tmp_path / "run"))


def test_changed_source_is_another_run(make_config: MakeConfig, image_folder: Path, tmp_path: Path) -> None:
    config = make_config(tmp_path / "run", source=str(image_folder))
    prepare.fn(config)
    (image_folder / "1" / "000.jpg").unlink()
    with pytest.raises(InputError, match=r"another run \(source.digest"):
        prepare.fn(config)


def test_retrained_weights_in_the_same_file_are_another_run(
    make_config: MakeConfig, save_untrained: Callable[..., Path], trained_weights: Path, tmp_path: Path
) -> None:
    """A worker that serves several runs must not keep a network whose file has changed."""
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(trained_weights.read_bytes())
    config = make_config(tmp_path / "run", weights=str(weights))
    first = prepare.fn(config).observer
    weights.write_bytes(save_untrained().read_bytes())
    with pytest.raises(InputError, match=r"another run \(observer.digest"):
        prepare.fn(config)
    assert prepare.fn(make_config(tmp_path / "other", weights=str(weights))).observer != first


def test_half_written_run_json_is_named(make_config: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"config": ')
    with pytest.raises(InputError, match=r"run.json is damaged .*choose another --out"):
        prepare.fn(make_config(tmp_path / "run"))


def test_teacher_of_its_own_is_recorded(
    make_config: MakeConfig, save_untrained: Callable[..., Path], trained_weights: Path, tmp_path: Path
) -> None:
    teacher = save_untrained(arch="convnet4")
    plan = prepare.fn(make_config(tmp_path / "run", teacher="rded:convnet4", teacher_weights=str(teacher)))
    assert plan.teacher != plan.observer
    assert read_weights(str(trained_weights))[1]["classes"] == [label.folder for label in plan.classes]


def test_prefect_does_not_walk_into_a_plan(make_config: MakeConfig, tmp_path: Path) -> None:
    """It would visit every class of ImageNet twice a task run."""
    plan = prepare.fn(make_config(tmp_path / "run"))
    seen: list[object] = []
    visit_collection({"plan": plan}, visit_fn=seen.append, return_data=False)
    assert plan in seen
    assert not [value for value in seen if value is plan.config or value in plan.classes]
