"""The check of a network on the source: two outputs exchanged stop the run, a fair network does not."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from rded_core.config import DistillConfig
from rded_core.errors import InputError
from tasks.patches.check import check_network, check_notes
from tasks.patches.draw import draw_candidates
from tasks.run.prepare import prepare
from tasks.run.results import StageResult

SHADES = (0, 40, 80, 120, 160, 200)

MODULE = """
import torch
from torch import nn

class Nearest(nn.Module):
    preprocessing = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}

    def __init__(self, shades):
        super().__init__()
        self.shades = nn.Parameter(torch.tensor(shades) / 255)

    def forward(self, images):
        return -100 * (images.mean(dim=(1, 2, 3))[:, None] - self.shades).square()

def fair():
    return Nearest([0.0, 40, 80, 120, 160, 200])

def exchanged():
    return Nearest([0.0, 40, 120, 80, 160, 200])

def cycle():
    return Nearest([40.0, 80, 0, 120, 160, 200])

def one_missing():
    return Nearest([0.0, 40, 80, 120, 160, 900])
"""

Check = Callable[..., StageResult]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Returns a function that checks an observer of the module above on six classes of grey images."""
    name = f"rded_test_shades_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, name, None)  # so that the import is undone at the end
    del sys.modules[name]

    def run(factory: str, *, num_images: int = 9, **changes: bool) -> StageResult:
        for index, shade in enumerate(SHADES):
            (tmp_path / "photos" / "abcdef"[index]).mkdir(parents=True, exist_ok=True)
            for number in range(num_images):
                image = Image.new("RGB", (16, 16), (shade + number % 9,) * 3)
                image.save(tmp_path / "photos" / "abcdef"[index] / f"{number}.png")
        config = DistillConfig(
            source=str(tmp_path / "photos"), observer=f"{name}:{factory}", out=str(tmp_path / "run"), size=16, factor=1,
            ipc=1, num_candidates=num_images, device="cpu", workers=1, **changes,
        )  # fmt: skip
        plan = prepare.fn(config)
        return check_network.fn(plan, "observer", [draw_candidates.fn(plan, shard) for shard in plan.shards])

    return run


def test_a_fair_observer_passes_and_its_record_is_as_before(check: Check) -> None:
    facts = check("fair").records[0].facts
    assert facts["top1"] == 1.0
    assert "taken" not in facts


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("exchanged", r"takes class 'c' for 'd' \(9 of 9 images\), class 'd' for 'c' \(9 of 9 images\), as if outputs"),
        ("cycle", r"takes class 'a' for 'c' .*, class 'b' for 'a' .*, class 'c' for 'b' "),
        ("one_missing", r"takes class 'f' for 'e' \(9 of 9 images\), as if .*--observer-classes FILE .*--force"),
    ],
)
def test_classes_taken_for_another_stop_the_run(check: Check, factory: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check(factory)


def test_with_force_they_are_named_in_the_log_and_the_notes(check: Check, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", logger="rded"):
        result = check("exchanged", force=True)
    logged = [record.getMessage() for record in caplog.records]
    assert "the observer takes class 'c' for 'd' (9 of 9 images)" in logged
    assert [note.partition(":")[0] for note in check_notes([result])] == [
        "the observer takes class 'c' for 'd' (9 of 9 images)",
        "the observer takes class 'd' for 'c' (9 of 9 images)",
    ]


def test_with_few_images_nobody_is_accused(check: Check) -> None:
    assert "taken" not in check("exchanged", num_images=3).records[0].facts


def test_missed_classes_are_looked_at_again(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a thousand classes the sample holds one image or two of each, from which nothing follows."""
    monkeypatch.setattr("tasks.patches.check.SAMPLE_IMAGES", (12, 12))
    with pytest.raises(InputError, match=r"'c' for 'd' \(20 of 20 images\), class 'd' for 'c' \(20 of 20 images\)"):
        check("exchanged", num_images=22)


def test_too_few_images_to_tell_are_not_called_no_better_than_chance(check: Check) -> None:
    """Three of six right: guessing may reach it, and of a hundred images it could not."""
    message = (
        r"the observer is right on 50\.0 % of 6 source images, too few to tell it from chance \(guessing among 6 "
        r"classes reaches up to 62\.\d %\); add images \(with 100, such a top-1 is enough\), or continue with --force"
    )
    with pytest.raises(InputError, match=message):
        check("cycle", num_images=1)
    (note,) = check_notes([check("cycle", num_images=1, force=True)])
    assert note.startswith("the observer is right on 50.0 % of 6 candidates, too few to tell it from chance: what it")
