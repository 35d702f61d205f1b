"""A run of some classes leaves the others unchanged, also for repair, students and deep checks."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rded_core.config import DistillConfig, EvaluateConfig, Rerun
from rded_core.errors import InputError
from rded_core.io.layout.run import RunFolder
from rded_core.io.layout.units import class_unit
from rded_core.io.verify.findings import Findings
from tasks.run.prepare import prepare
from tasks.verify.files import check_files
from tasks.verify.recompute import check_deep

MakeConfig = Callable[..., DistillConfig]
Files = dict[str, bytes]

pytestmark = pytest.mark.usefixtures("plain_flows")


@pytest.fixture(scope="module")
def workspace(
    shared_source: Path, make_config: MakeConfig, run_undecorated: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:  # fmt: skip
    """A folder with a source and a finished run of it."""
    folder = tmp_path_factory.mktemp("only")
    shutil.copytree(shared_source, folder / "source")
    run_undecorated(make_config(folder / "run", source=str(folder / "source"), label_epochs=2))
    return folder


@pytest.fixture
def source(workspace: Path) -> Path:
    """The run's source, which the test may change; restored at the end."""
    return workspace / "source"


@pytest.fixture(autouse=True)
def restore(workspace: Path, tmp_path: Path) -> Any:
    shutil.copytree(workspace, tmp_path / "kept")
    yield
    shutil.rmtree(workspace)
    shutil.copytree(tmp_path / "kept", workspace)


@pytest.fixture
def run(workspace: Path) -> RunFolder:
    return RunFolder(workspace / "run")


@pytest.fixture
def config(workspace: Path, make_config: MakeConfig) -> DistillConfig:
    return make_config(workspace / "run", source=str(workspace / "source"), label_epochs=2)


@pytest.fixture
def one_class(plain_flows: None, source: Path, config: DistillConfig) -> None:
    """Two classes have lost images since the run, and one of them was brought up to date."""
    del plain_flows
    from flows.distill import distill

    _lose(source, "10")
    _lose(source, "2")
    distill(config, only_classes=["10"])


def _lose(source: Path, folder: str, count: int = 2) -> None:
    for path in sorted((source / folder).iterdir())[:count]:
        path.unlink()


LABEL_RECORD = "work/soft_labels/epochs-000000-000001.json"
"""It also says how many labels were reused from the earlier table."""


def _files(root: Path) -> Files:
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return {name: data for name, data in files.items() if name != LABEL_RECORD}


def _damage(run: RunFolder, *patterns: str) -> None:
    for pattern in patterns:
        path = min(run.root.glob(pattern))
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)


def _repair(run: RunFolder) -> tuple[Findings, list[str]]:
    from flows.repair import repair

    lines: list[str] = []
    return repair(run, tell=lines.append), lines


DESCRIBED = frozenset({"run.json", "work/run.json", "work/publish/dataset.json"})


def _changed_since(before: Files, run: RunFolder) -> set[str]:
    after = _files(run.root)
    return {name for name in before | after if before.get(name) != after.get(name)}


@pytest.mark.usefixtures("one_class")
@pytest.mark.parametrize(
    "damaged",
    [
        (f"work/squeeze/{class_unit('1')}.tar", "work/soft_labels/*.parquet"),
        (f"work/candidates/{class_unit('10')}.tar", f"work/index/{class_unit('10')}.json"),
        ("dataset/classes.json",),
        ("work/observe/observer.json", "work/publish/dataset.json"),
    ],
    ids=["images and labels", "candidates", "dataset", "records of no class"],
)
def test_repair_remakes_only_classes_with_damaged_files(run: RunFolder, damaged: tuple[str, ...]) -> None:
    before = _files(run.root)
    _damage(run, *damaged)
    findings, lines = _repair(run)
    assert not findings.faults
    assert len(lines) >= len(damaged)
    assert _changed_since(before, run) == set()


@pytest.mark.parametrize("damaged", [f"work/squeeze/{class_unit('1')}.tar", "dataset/recipe.json"])
def test_repair_ignores_images_of_other_classes(run: RunFolder, source: Path, damaged: str) -> None:
    before = _files(run.root)
    _lose(source, "2")
    _damage(run, damaged)
    assert not _repair(run)[0].faults
    assert _changed_since(before, run) == DESCRIBED, "they name the source's digest"


def test_repair_refuses_a_class_whose_images_changed(run: RunFolder, source: Path, config: DistillConfig) -> None:
    from flows.distill import distill

    _lose(source, "2")
    _damage(run, f"work/squeeze/{class_unit('2')}.tar")
    with pytest.raises(InputError, match=r"source images changed since .*rded distill --config"):
        _repair(run)
    distill(config, only_classes=["1"])
    with pytest.raises(InputError, match=r"class 2 of the source changed since"):
        _repair(run)


def test_repair_refuses_a_source_with_different_classes(run: RunFolder, source: Path) -> None:
    shutil.rmtree(source / "2")
    _damage(run, f"work/squeeze/{class_unit('1')}.tar")
    with pytest.raises(InputError, match=r"source images changed since"):
        _repair(run)


@pytest.mark.usefixtures("one_class")
def test_dataset_describes_the_classes_as_they_were_drawn(run: RunFolder) -> None:
    entries = json.loads((run.dataset / "classes.json").read_text())
    assert {entry["folder"]: entry["num_source"] for entry in entries} == {"1": 12, "10": 10, "2": 12}


@pytest.mark.usefixtures("one_class")
def test_deep_checks_find_no_faults(run: RunFolder) -> None:
    findings = check_files(run)
    check_deep(run, findings)
    assert not findings.faults


@pytest.mark.usefixtures("one_class")
def test_students_train_on_a_partly_updated_dataset(run: RunFolder, shared_source: Path) -> None:
    from flows.evaluate import evaluate

    table = evaluate(
        EvaluateConfig(
            dataset=str(run.root), val=str(shared_source), student="convnet3", seeds=1, epochs=1, device="cpu"
        )
    )
    assert list(table["sets"]) == ["distilled", "random"]
    assert not check_files(run).faults


def _work_on_one(config: DistillConfig, **changes: Any) -> str | None:
    from flows.distill import distill

    return distill(replace(config, **changes), only_classes=["10"])["dataset"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"ipc": 1}, "2 of 3 classes were made under other settings (ipc 2 -> 1)"),
        ({"num_crops": 4}, "2 of 3 classes were made under other settings (num-crops 3 -> 4)"),
        ({"seed": 1}, "2 of 3 classes were made under other settings (seed 0 -> 1)"),
    ],
)
def test_other_settings_are_named_if_nothing_is_published(
    run: RunFolder, config: DistillConfig, caplog: pytest.LogCaptureFixture, changes: dict[str, Any], why: str
) -> None:
    before = (run.dataset / "SHA256SUMS").read_text()
    assert _work_on_one(config, **changes) is None
    assert f"nothing published: {why}; run without --only-classes" in caplog.text
    assert (run.dataset / "SHA256SUMS").read_text() == before


def test_damaged_and_missing_classes_are_named_if_nothing_is_published(
    run: RunFolder, config: DistillConfig, caplog: pytest.LogCaptureFixture
) -> None:
    _damage(run, f"work/selection/{class_unit('2')}.parquet")
    assert _work_on_one(config) is None
    assert "nothing published: 1 of 3 classes is not whole (output damaged); run without" in caplog.text
    shutil.rmtree(run.root)
    assert _work_on_one(config) is None
    assert "nothing published: 2 of 3 classes have no images yet (1 ...); run without" in caplog.text


def test_repair_refuses_a_dataset_of_other_settings(run: RunFolder, config: DistillConfig) -> None:
    assert _work_on_one(config, ipc=1) is None
    _damage(run, "dataset/recipe.json")
    with pytest.raises(InputError, match=r"started again with other settings, .*rded distill --config"):
        _repair(run)


def test_each_reason_is_given_if_nothing_is_published(run: RunFolder, config: DistillConfig) -> None:
    from flows.distill import distill

    _damage(run, f"work/selection/{class_unit('2')}.parquet")
    shutil.rmtree(run.stage("squeeze"))
    for name in ("index", "candidates", "realism", "selection"):
        (run.stage(name) / f"{class_unit('1')}.json").unlink()
    why = "1 of 3 classes has no images yet (1), 1 is not whole (output damaged)"
    assert distill(config, only_classes=["10"])["why_missing"] == why


def test_last_line_says_why_nothing_is_published(run: RunFolder, run_cli: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = run_cli("distill", "--config", run.run_json, "--ipc", 1, "--only-classes", "10")
    why = "2 of 3 classes were made under other settings (ipc 2 -> 1)"
    assert (code, out.splitlines()[0]) == (0, f"not done    nothing published: {why}; run without --only-classes")


@pytest.fixture
def control(plain_flows: None, run: RunFolder, config: DistillConfig) -> RunFolder:
    """A control of the run, as an evaluation makes it."""
    del plain_flows
    _make_control(run, config)
    return run.controls()[0]


def _make_control(run: RunFolder, config: DistillConfig) -> None:
    from flows.distill import distill

    distill(replace(config, selection="random", out=str(run.control("random")), force=True))


@pytest.mark.parametrize("damaged", [f"work/squeeze/{class_unit('1')}.tar", "dataset/recipe.json"])
def test_repair_of_a_control_ignores_images_of_other_classes(
    run: RunFolder, control: RunFolder, source: Path, damaged: str
) -> None:
    before = _files(run.root)
    _lose(source, "2")
    _damage(control, damaged)
    assert not _repair(run)[0].faults
    described = {f"{control.root.relative_to(run.root)}/{name}" for name in DESCRIBED}
    assert _changed_since(before, run) == described, "they name the source's digest"


def test_control_of_a_changed_class_is_refused(
    run: RunFolder, control: RunFolder, source: Path, config: DistillConfig
) -> None:
    _lose(source, "1")
    again = replace(config, selection="random", out=str(control.root), force=True)
    with pytest.raises(InputError, match=rf"source changed since .*distill --config {run.run_json} and then rded eval"):
        prepare.fn(again, Rerun(only_classes=("1",)))
    prepare.fn(again, Rerun(only_classes=("2",)))


def test_classes_left_out_may_have_become_too_small(run: RunFolder, source: Path, config: DistillConfig) -> None:
    from flows.distill import distill

    _lose(source, "2", 9)
    _damage(run, f"work/squeeze/{class_unit('1')}.tar")
    assert not _repair(run)[0].faults
    _lose(source, "10")
    assert distill(config, only_classes=["10"])["dataset"]
    _make_control(run, config)
    with pytest.raises(InputError, match="class '2' has 3 usable images"):
        distill(config, only_classes=["2"])


def test_no_class_in_a_fresh_folder(config: DistillConfig, tmp_path: Path) -> None:
    from flows.distill import distill

    with pytest.raises(InputError, match=r"no class in .*fresh has candidates yet.*without --only-classes"):
        distill(replace(config, out=str(tmp_path / "fresh")), only_classes=[])
