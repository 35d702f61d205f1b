"""The reuse matrix: what is made again after which change, and that the bytes are those of a run from nothing."""

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image
from torch import nn

from rded_core.choices import Redo
from rded_core.config import DistillConfig
from rded_core.io import manifest
from rded_core.io.paths import class_unit
from rded_core.io.run_files import CLASS_STAGES
from rded_core.networks import build_network

MakeConfig = Callable[..., DistillConfig]
Distill = Callable[..., dict[str, Any]]

ALL = frozenset({"1", "10", "2"})
TEN = frozenset({"10"})
NONE: frozenset[str] = frozenset()

WHOLE_STAGES = ("observe", "soft_labels", "publish")


@dataclass(frozen=True)
class Case:
    """A change, and what it makes again: stage to classes; `may` where it depends on what is found."""

    name: str
    changes: dict[str, Any] = field(default_factory=dict)
    edit: Callable[[Path], None] | None = None
    made: dict[str, frozenset[str]] = field(default_factory=dict)
    may: dict[str, frozenset[str]] = field(default_factory=dict)
    whole: tuple[str, ...] = ()


def _save_picture(path: Path) -> None:
    Image.radial_gradient("L").convert("RGB").resize((44, 40)).save(path, quality=95)


def _add(source: Path) -> None:
    for number in range(3):
        _save_picture(source / "10" / f"new{number}.jpg")


def _edit(source: Path) -> None:
    for path in sorted((source / "10").iterdir()):
        _save_picture(path)


def _delete(source: Path) -> None:
    for path in sorted((source / "10").iterdir())[:2]:
        path.unlink()


def _touch(source: Path) -> None:
    for path in (source / "10").iterdir():
        path.touch()


def _from(stage: str, classes: frozenset[str]) -> dict[str, frozenset[str]]:
    return dict.fromkeys(CLASS_STAGES[CLASS_STAGES.index(stage) :], classes)


LABELS = ("soft_labels", "publish")
EVERYTHING = ("observe", *LABELS)

CASES = [
    Case("nothing"),
    Case("neutral", {"workers": 1, "classes_per_shard": 1, "force": True, "max_rejected": 0.5, "device": "auto"}),
    Case("ipc", {"ipc": 1}, made=_from("selection", ALL), whole=LABELS),
    Case("factor", {"factor": 1}, made=_from("realism", ALL), whole=LABELS),
    Case("crops", {"num_crops": 4}, made={"realism": ALL, "selection": ALL}, may={"squeeze": ALL}, whole=LABELS),
    Case("crop scale", {"crop_scale_min": 0.5}, made=_from("realism", ALL), whole=LABELS),
    Case(
        "more candidates",
        {"num_candidates": 11},
        made={"candidates": ALL, "realism": ALL, "selection": ALL},
        may={"squeeze": ALL},
        whole=EVERYTHING,
    ),
    Case("image format", {"image_format": "webp"}, made={"squeeze": ALL}, whole=LABELS),
    Case("more label epochs", {"label_epochs": 13}, whole=LABELS),
    Case("label batches", {"label_batch_size": 3}, whole=LABELS),
    Case("mix", {"mix": "mixup"}, whole=LABELS),
    Case("flip", {"flip": False}, whole=LABELS),
    Case("protocol", {"protocol": "standard"}, whole=LABELS),
    Case("temperature", {"temperature": 5.0}, whole=("publish",)),
    Case("seed", {"seed": 1}, made=_from("index", ALL), whole=EVERYTHING),
    Case("class removed", {"classes": ("1", "2")}, whole=EVERYTHING),
    Case("added images", edit=_add, made={"index": TEN, "candidates": TEN, "realism": TEN, "selection": TEN},
         may={"squeeze": TEN, "soft_labels": ALL, "observe": ALL}, whole=("publish",)),
    Case("edited images", edit=_edit, made=_from("index", TEN), whole=EVERYTHING),
    Case("deleted images", edit=_delete, made={"index": TEN, "candidates": TEN},
         may={**_from("realism", TEN), "soft_labels": ALL, "observe": ALL}, whole=("publish",)),
    Case("touched images", edit=_touch, made={"index": TEN, "candidates": TEN}),
]  # fmt: skip


@pytest.fixture
def distill(plain_flows: None) -> Distill:  # noqa: ARG001
    from flows.distill import distill

    return distill  # type: ignore[return-value]


@pytest.fixture(scope="module")
def source(shared_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source of the module's own; `kept` puts it back as it was."""
    return Path(shutil.copytree(shared_source, tmp_path_factory.mktemp("reuse") / "source"))


@pytest.fixture
def kept(source: Path, tmp_path: Path) -> Iterator[None]:
    """Puts the source back after a test, times of change included."""
    shutil.copytree(source, tmp_path / "kept")
    yield
    shutil.rmtree(source)
    shutil.copytree(tmp_path / "kept", source)


@pytest.fixture(scope="module")
def base(
    make_config: MakeConfig, run_undecorated: Callable[..., Path], source: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:  # fmt: skip
    out = tmp_path_factory.mktemp("base") / "run"
    run_undecorated(make_config(out, source=str(source)))
    return out


@pytest.fixture
def out(base: Path, tmp_path: Path) -> Path:
    """The finished run, in the test's own copy."""
    return Path(shutil.copytree(base, tmp_path / "run"))


def _written(out: Path) -> dict[str, int]:
    work = out / "work"
    return {path.relative_to(work).as_posix(): path.stat().st_mtime_ns for path in work.glob("*/*.json")}


def _made(out: Path, before: dict[str, int]) -> tuple[dict[str, set[str]], set[str]]:
    """Returns which classes' records were written anew in which stage, and in which stages that cover all classes."""
    new = {name for name, time_ns in _written(out).items() if before.get(name) != time_ns}
    folders = {class_unit(folder): folder for folder in ALL}
    classes: dict[str, set[str]] = {}
    for name in new:
        stage, unit = name.removesuffix(".json").split("/")
        if stage in CLASS_STAGES:
            classes.setdefault(stage, set()).add(folders[unit])
    return classes, {name.split("/")[0] for name in new} & set(WHOLE_STAGES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_only_what_a_change_touches_is_made_again(
    case: Case, out: Path, source: Path, kept: None, make_config: MakeConfig, distill: Distill, tmp_path: Path
) -> None:  # fmt: skip
    del kept
    if case.edit:
        case.edit(source)
    before = _written(out)
    summary = distill(make_config(out, source=str(source), **case.changes))
    classes, whole = _made(out, before)
    allowed = {stage for stage in case.may if stage in WHOLE_STAGES}
    assert whole - allowed == set(case.whole) - allowed
    for stage in CLASS_STAGES:
        found = classes.get(stage, set())
        assert case.made.get(stage, NONE) <= found, f"{stage}: not made again"
        assert found <= case.made.get(stage, NONE) | case.may.get(stage, NONE), f"{stage}: made again for nothing"
    told = {entry["stage"]: entry["made"] for entry in summary["work"]}
    assert [told[name] for name in ("list", "draw", "score", "select", "tile")] == [
        len(classes.get(stage, ())) for stage in CLASS_STAGES
    ]
    shutil.rmtree(tmp_path / "fresh", ignore_errors=True)
    distill(make_config(tmp_path / "fresh", source=str(source), **case.changes))
    sums = [(root / "dataset" / "SHA256SUMS").read_text() for root in (out, tmp_path / "fresh")]
    assert sums[0] == sums[1]


def test_an_added_class_is_all_that_is_made(
    make_config: MakeConfig, source: Path, distill: Distill, base: Path, tmp_path: Path
) -> None:
    out = tmp_path / "two"
    distill(make_config(out, source=str(source), classes=("1", "2")))
    before = _written(out)
    distill(make_config(out, source=str(source)))
    classes, whole = _made(out, before)
    assert classes == _from("index", TEN)
    assert whole == set(WHOLE_STAGES)
    assert (out / "dataset" / "SHA256SUMS").read_text() == (base / "dataset" / "SHA256SUMS").read_text()


def test_another_observer_scores_again_and_another_teacher_only_labels(
    out: Path, source: Path, make_config: MakeConfig, distill: Distill, save_untrained: Callable[..., Path]
) -> None:
    before = _written(out)
    teacher = {"teacher": "rded:convnet4", "teacher_weights": str(save_untrained(arch="convnet4")), "force": True}
    distill(make_config(out, source=str(source), **teacher))
    assert _made(out, before) == ({}, set(WHOLE_STAGES))
    before = _written(out)
    summary = distill(make_config(out, source=str(source), weights=str(save_untrained()), force=True, **{
        name: value for name, value in teacher.items() if name != "force"
    }))  # fmt: skip
    classes, _ = _made(out, before)
    assert (classes.get("candidates"), classes["realism"]) == (None, set(ALL))
    score = next(entry for entry in summary["work"] if entry["stage"] == "score")
    assert score == {"stage": "score", "reused": 0, "made": 3, "left_out": 0, "why": {"observer changed": 3}}


def test_another_algorithm_makes_everything_again(
    out: Path, source: Path, make_config: MakeConfig, distill: Distill, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _written(out)
    monkeypatch.setattr(manifest, "ALGORITHM_VERSION", 99)
    distill(make_config(out, source=str(source)))
    classes, whole = _made(out, before)
    assert classes == _from("index", ALL)
    assert whole == set(WHOLE_STAGES)


REASONS = [
    (_add, "list", {"3 new images": 1}),
    (_add, "draw", {"3 new images": 1}),
    (_edit, "draw", {"12 changed images": 1}),
    (_delete, "list", {"2 gone images": 1}),
    (_touch, "draw", {"12 images touched or changed": 1}),
]


@pytest.mark.parametrize(("edit", "stage", "why"), REASONS)
def test_the_summary_says_why(
    edit: Callable[[Path], None], stage: str, why: dict[str, int], out: Path, source: Path, kept: None,
    make_config: MakeConfig, distill: Distill,
) -> None:  # fmt: skip
    del kept
    edit(source)
    work = distill(make_config(out, source=str(source)))["work"]
    assert next(entry for entry in work if entry["stage"] == stage)["why"] == why


@pytest.mark.parametrize(
    ("redo", "classes", "whole"),
    [
        (["score"], {"realism": ALL}, set()),
        (["draw"], {"candidates": ALL}, set()),
        (["select", "tile"], {"selection": ALL, "squeeze": ALL}, set()),
        (["label"], {}, {"soft_labels"}),
        (["check"], {}, {"observe"}),
        (["publish"], {}, {"publish"}),
    ],
)
def test_stages_asked_for_are_made_again_to_the_same_bytes(
    redo: list[Redo], classes: dict[str, frozenset[str]], whole: set[str], out: Path, base: Path, source: Path,
    make_config: MakeConfig, distill: Distill,
) -> None:  # fmt: skip
    before = _written(out)
    distill(make_config(out, source=str(source)), redo=redo)
    assert _made(out, before) == (classes, whole)
    assert (out / "dataset" / "SHA256SUMS").read_text() == (base / "dataset" / "SHA256SUMS").read_text()


def test_only_the_classes_named_are_worked_on(
    out: Path, source: Path, kept: None, make_config: MakeConfig, distill: Distill
) -> None:
    del kept
    _edit(source)
    _save_picture(source / "2" / "000.jpg")
    _save_picture(source / "2" / "001.jpg")
    before = _written(out)
    distill(make_config(out, source=str(source)), only_classes=["10"], redo=["score"])
    classes, _ = _made(out, before)
    assert classes == _from("index", TEN)
    before = _written(out)
    distill(make_config(out, source=str(source)))
    assert _made(out, before)[0]["candidates"] == {"2"}


def test_classes_that_were_never_made_keep_the_dataset_from_being_published(
    source: Path, make_config: MakeConfig, distill: Distill, tmp_path: Path, base: Path
) -> None:
    config = make_config(tmp_path / "run", source=str(source))
    summary = distill(config, only_classes=["10"])
    assert (summary["dataset"], summary["missing"]) == (None, ["1", "2"])
    assert not (tmp_path / "run" / "dataset").exists()
    summary = distill(config)
    assert next(entry for entry in summary["work"] if entry["stage"] == "score")["reused"] == 1
    assert (tmp_path / "run" / "dataset" / "SHA256SUMS").read_text() == (base / "dataset" / "SHA256SUMS").read_text()


def _pooled_by_maxima() -> nn.Module:
    """A convnet3 that pools otherwise: the same weights fit both."""
    network = build_network("convnet3", num_classes=3, size=32)
    layers = network.get_submodule("features")
    assert isinstance(layers, nn.Sequential)
    for number, layer in enumerate(layers):
        if isinstance(layer, nn.AvgPool2d):
            layers[number] = nn.MaxPool2d(2)
    return network


def test_another_network_of_the_same_weights_is_noticed(
    out: Path, source: Path, make_config: MakeConfig, distill: Distill, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("networks_of_a_user")
    module.__dict__["pooled"] = _pooled_by_maxima
    monkeypatch.setitem(sys.modules, module.__name__, module)
    before = _written(out)
    summary = distill(make_config(out, source=str(source), observer=f"{module.__name__}:pooled", force=True))
    classes, whole = _made(out, before)
    assert (classes.get("candidates"), classes["realism"]) == (None, set(ALL))
    assert whole == set(WHOLE_STAGES)
    score = next(entry for entry in summary["work"] if entry["stage"] == "score")
    assert score["why"] == {"observer changed": 3}
