"""What is remade after a change of network or algorithm, or for chosen stages and classes."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from torch import nn

from rded_core.config.choices import Redo
from rded_core.io.run import records as manifest
from rded_core.networks import build_network
from tests.flows.reuse.changes import (
    ALL,
    TEN,
    WHOLE_STAGES,
    Distill,
    MakeConfig,
    edit_images,
    remade_since,
    save_picture,
    stages_from,
    sums_of,
    written,
)


def test_new_observer_scores_again_and_new_teacher_only_labels(
    out: Path, source: Path, make_config: MakeConfig, distill: Distill, save_untrained: Callable[..., Path]
) -> None:
    before = written(out)
    teacher = {"teacher": "rded:convnet4", "teacher_weights": str(save_untrained(arch="convnet4")), "force": True}
    distill(make_config(out, source=str(source), **teacher))
    assert remade_since(out, before) == ({}, set(WHOLE_STAGES))
    before = written(out)
    summary = distill(make_config(out, source=str(source), weights=str(save_untrained()), force=True, **{
        name: value for name, value in teacher.items() if name != "force"
    }))  # fmt: skip
    classes, _ = remade_since(out, before)
    assert (classes.get("candidates"), classes["realism"]) == (None, set(ALL))
    score = next(entry for entry in summary["work"] if entry["stage"] == "score")
    assert score == {"stage": "score", "reused": 0, "made": 3, "left_out": 0, "why": {"observer changed": 3}}


def test_new_algorithm_version_remakes_everything(
    out: Path, source: Path, make_config: MakeConfig, distill: Distill, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = written(out)
    monkeypatch.setattr(manifest, "ALGORITHM_VERSION", 99)
    distill(make_config(out, source=str(source)))
    classes, whole = remade_since(out, before)
    assert classes == stages_from("index", ALL)
    assert whole == set(WHOLE_STAGES)


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
def test_requested_stages_are_remade_to_the_same_bytes(
    redo: list[Redo], classes: dict[str, frozenset[str]], whole: set[str], out: Path, base: Path, source: Path,
    make_config: MakeConfig, distill: Distill,
) -> None:  # fmt: skip
    before = written(out)
    distill(make_config(out, source=str(source)), redo=redo)
    assert remade_since(out, before) == (classes, whole)
    assert sums_of(out) == sums_of(base)


def test_only_named_classes_are_updated(
    out: Path, source: Path, restore_source: None, make_config: MakeConfig, distill: Distill
) -> None:
    del restore_source
    edit_images(source)
    save_picture(source / "2" / "000.jpg")
    save_picture(source / "2" / "001.jpg")
    before = written(out)
    distill(make_config(out, source=str(source)), only_classes=["10"], redo=["score"])
    classes, _ = remade_since(out, before)
    assert classes == stages_from("index", TEN)
    before = written(out)
    distill(make_config(out, source=str(source)))
    assert remade_since(out, before)[0]["candidates"] == {"2"}


def test_nothing_is_published_while_classes_are_missing(
    source: Path, make_config: MakeConfig, distill: Distill, tmp_path: Path, base: Path
) -> None:
    config = make_config(tmp_path / "run", source=str(source))
    summary = distill(config, only_classes=["10"])
    assert (summary["dataset"], summary["missing"]) == (None, ["1", "2"])
    assert not (tmp_path / "run" / "dataset").exists()
    summary = distill(config)
    assert next(entry for entry in summary["work"] if entry["stage"] == "score")["reused"] == 1
    assert sums_of(tmp_path / "run") == sums_of(base)


def _max_pooled() -> nn.Module:
    """A convnet3 with max pooling: the same weights fit both."""
    network = build_network("convnet3", num_classes=3, size=32)
    layers = network.get_submodule("features")
    assert isinstance(layers, nn.Sequential)
    for number, layer in enumerate(layers):
        if isinstance(layer, nn.AvgPool2d):
            layers[number] = nn.MaxPool2d(2)
    return network


def test_different_network_with_the_same_weights_is_noticed(
    out: Path, source: Path, make_config: MakeConfig, distill: Distill, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("networks_of_a_user")
    module.__dict__["pooled"] = _max_pooled
    monkeypatch.setitem(sys.modules, module.__name__, module)
    before = written(out)
    summary = distill(make_config(out, source=str(source), observer=f"{module.__name__}:pooled", force=True))
    classes, whole = remade_since(out, before)
    assert (classes.get("candidates"), classes["realism"]) == (None, set(ALL))
    assert whole == set(WHOLE_STAGES)
    score = next(entry for entry in summary["work"] if entry["stage"] == "score")
    assert score["why"] == {"observer changed": 3}
