"""The reuse matrix: which change remakes what, and that the bytes are those of a run from scratch."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rded_core.io.run.inventory import CLASS_STAGES
from tests.flows.reuse.changes import (
    ALL,
    NONE,
    TEN,
    WHOLE_STAGES,
    Distill,
    MakeConfig,
    add_images,
    delete_images,
    edit_images,
    remade_since,
    stages_from,
    sums_of,
    touch_images,
    written,
)


@dataclass(frozen=True)
class Case:
    """A change and what it remakes, as stage to classes; `may` is remade or not, depending on the images."""

    name: str
    changes: dict[str, Any] = field(default_factory=dict)
    edit: Callable[[Path], None] | None = None
    made: dict[str, frozenset[str]] = field(default_factory=dict)
    may: dict[str, frozenset[str]] = field(default_factory=dict)
    whole: tuple[str, ...] = ()


LABELS = ("soft_labels", "publish")
EVERYTHING = ("observe", *LABELS)

CASES = [
    Case("nothing"),
    Case("neutral", {"workers": 1, "classes_per_shard": 1, "force": True, "max_rejected": 0.5, "device": "auto"}),
    Case("ipc", {"ipc": 1}, made=stages_from("selection", ALL), whole=LABELS),
    Case("factor", {"factor": 1}, made=stages_from("realism", ALL), whole=LABELS),
    Case("crops", {"num_crops": 4}, made={"realism": ALL, "selection": ALL}, may={"squeeze": ALL}, whole=LABELS),
    Case("crop scale", {"crop_scale_min": 0.5}, made=stages_from("realism", ALL), whole=LABELS),
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
    Case("seed", {"seed": 1}, made=stages_from("index", ALL), whole=EVERYTHING),
    Case("class removed", {"classes": ("1", "2")}, whole=EVERYTHING),
    Case("added images", edit=add_images, made={"index": TEN, "candidates": TEN, "realism": TEN, "selection": TEN},
         may={"squeeze": TEN, "soft_labels": ALL, "observe": ALL}, whole=("publish",)),
    Case("edited images", edit=edit_images, made=stages_from("index", TEN), whole=EVERYTHING),
    Case("deleted images", edit=delete_images, made={"index": TEN, "candidates": TEN},
         may={**stages_from("realism", TEN), "soft_labels": ALL, "observe": ALL}, whole=("publish",)),
    Case("touched images", edit=touch_images, made={"index": TEN, "candidates": TEN}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_change_remakes_only_what_depends_on_it(
    case: Case, out: Path, source: Path, restore_source: None, make_config: MakeConfig, distill: Distill, tmp_path: Path
) -> None:  # fmt: skip
    del restore_source
    if case.edit:
        case.edit(source)
    before = written(out)
    summary = distill(make_config(out, source=str(source), **case.changes))
    classes, whole = remade_since(out, before)
    allowed = {stage for stage in case.may if stage in WHOLE_STAGES}
    assert whole - allowed == set(case.whole) - allowed
    for stage in CLASS_STAGES:
        remade = classes.get(stage, set())
        assert case.made.get(stage, NONE) <= remade, f"{stage}: not remade"
        assert remade <= case.made.get(stage, NONE) | case.may.get(stage, NONE), f"{stage}: remade needlessly"
    num_made = {entry["stage"]: entry["made"] for entry in summary["work"]}
    assert [num_made[name] for name in ("list", "draw", "score", "select", "tile")] == [
        len(classes.get(stage, ())) for stage in CLASS_STAGES
    ]
    shutil.rmtree(tmp_path / "fresh", ignore_errors=True)
    distill(make_config(tmp_path / "fresh", source=str(source), **case.changes))
    sums = [sums_of(root) for root in (out, tmp_path / "fresh")]
    assert sums[0] == sums[1]


def test_only_an_added_class_is_made(
    make_config: MakeConfig, source: Path, distill: Distill, base: Path, tmp_path: Path
) -> None:
    out = tmp_path / "two"
    distill(make_config(out, source=str(source), classes=("1", "2")))
    before = written(out)
    distill(make_config(out, source=str(source)))
    classes, whole = remade_since(out, before)
    assert classes == stages_from("index", TEN)
    assert whole == set(WHOLE_STAGES)
    assert sums_of(out) == sums_of(base)


REASONS = [
    (add_images, "list", {"3 new images": 1}),
    (add_images, "draw", {"3 new images": 1}),
    (edit_images, "draw", {"12 changed images": 1}),
    (delete_images, "list", {"2 gone images": 1}),
    (touch_images, "draw", {"12 images touched or changed": 1}),
]


@pytest.mark.parametrize(("edit", "stage", "why"), REASONS)
def test_summary_gives_the_reason(
    edit: Callable[[Path], None], stage: str, why: dict[str, int], out: Path, source: Path, restore_source: None,
    make_config: MakeConfig, distill: Distill,
) -> None:  # fmt: skip
    del restore_source
    edit(source)
    work = distill(make_config(out, source=str(source)))["work"]
    assert next(entry for entry in work if entry["stage"] == stage)["why"] == why
