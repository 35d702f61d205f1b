from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from jaxtyping import config as type_checks

from rded_core.config import DistillConfig, EvaluateConfig, Rerun, TrainObserverConfig
from rded_core.errors import InputError


@pytest.fixture(autouse=True)
def without_type_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disables the suite's type checks, which users lack and which reject a bad Literal before the config does."""
    monkeypatch.setattr(type_checks, "jaxtyping_disable", True)


def distill(**changes: Any) -> DistillConfig:
    return DistillConfig(**({"source": "photos", "observer": "rded:convnet3", "ipc": 10, "out": "run"} | changes))


def evaluate(**changes: Any) -> EvaluateConfig:
    return EvaluateConfig(**({"dataset": "run", "val": "photos", "student": "convnet3"} | changes))


def train_observer(**changes: Any) -> TrainObserverConfig:
    return TrainObserverConfig(**({"source": "photos", "arch": "convnet3", "out": "net.safetensors"} | changes))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("ipc", 0, "ipc must be >= 1, got 0"),
        ("num_candidates", 0, "num_candidates must be >= 1"),
        ("num_crops", 0, "num_crops must be >= 1"),
        ("label_epochs", 0, "label_epochs must be >= 1"),
        ("classes_per_shard", 0, "classes_per_shard must be >= 1"),
        ("workers", 0, "workers must be >= 1"),
        ("seed", -1, "seed must be >= 0"),
        ("label_batch_size", 1, "label_batch_size must be >= 2"),
        ("size", 7, "size must be >= 8"),
        ("factor", 0, r"factor must be in 1\.\.16"),
        ("factor", 17, r"factor must be in 1\.\.16"),
        ("crop_scale_min", 0.0, r"crop_scale_min must be in \(0, 1\]"),
        ("crop_scale_min", 1.01, r"crop_scale_min must be in \(0, 1\]"),
        ("crop_scale_min", float("nan"), r"crop_scale_min must be in \(0, 1\]"),
        ("image_quality", 0, r"image_quality must be in 1\.\.100"),
        ("image_quality", 101, r"image_quality must be in 1\.\.100"),
        ("image_format", "gif", "image_format must be one of jpeg, png, webp; got 'gif'"),
        ("protocol", "hard", "protocol must be one of paper, standard; got 'hard'"),
        ("mix", "cutout", "mix must be one of cutmix, mixup, none"),
        ("selection", "best", "selection must be one of realism, mosaic, random"),
    ],
)
def test_distill_config_rejects(field: str, value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        distill(**{field: value})


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 8, "factor": 1},
        {"size": 32, "factor": 4, "ipc": 1},
        {"size": 128, "factor": 16, "ipc": 1},
        {"crop_scale_min": 1.0},
        {"image_quality": 1},
        {"image_quality": 100},
        {"label_batch_size": 2},
        {"seed": 2**70},
        {"ipc": 75, "factor": 2, "num_candidates": 300},
    ],
)
def test_distill_config_accepts_the_limits(changes: dict[str, Any]) -> None:
    config = distill(**changes)
    assert all(getattr(config, name) == value for name, value in changes.items())


def test_patches_below_eight_pixels_are_rejected() -> None:
    with pytest.raises(InputError, match="patches of at least 8 px, got 5 at size 32"):
        distill(size=32, factor=5, ipc=1)


@pytest.mark.parametrize(
    ("selection", "factor", "per_image"), [("realism", 1, 1), ("realism", 3, 9), ("mosaic", 2, 4), ("random", 2, 1)]
)
def test_patches_needed(selection: str, factor: int, per_image: int) -> None:
    config = distill(selection=selection, factor=factor, ipc=7)
    assert config.patches_per_image == per_image
    assert config.candidates_per_class == 7 * factor * factor, "controls make as many images per class"


def test_too_few_candidates_error_names_the_remedy() -> None:
    with pytest.raises(InputError, match=r"must be >= factor² · ipc = 40, got 39; .* lower --ipc to 9"):
        distill(num_candidates=39)


def test_remedy_never_suggests_an_invalid_ipc() -> None:
    with pytest.raises(InputError, match="num_candidates must be >= ") as error:
        distill(num_candidates=3, ipc=1, factor=2)
    assert "--ipc to 0" not in str(error.value)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("seeds", 0, "seeds must be >= 1"),
        ("epochs", 0, "epochs must be >= 1"),
        ("workers", 0, "workers must be >= 1"),
        ("looks", 0, "looks must be >= 1"),
        ("protocol", "fast", "protocol must be one of paper, standard, hard"),
        ("loss", "mse", "loss must be one of kl, gift"),
        ("controls", ("random", "noise"), "controls must be random, mosaic, both .*; got 'noise'"),
        ("lr", 0.0, "lr must be > 0"),
        ("lr", float("nan"), "lr must be > 0"),
    ],
)
def test_evaluate_config_rejects(field: str, value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(**{field: value})


def test_evaluate_config_accepts_no_controls() -> None:
    assert evaluate(controls=(), protocol="hard", lr=1e-9).controls == ()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("epochs", 0, "epochs must be >= 1"),
        ("workers", 0, "workers must be >= 1"),
        ("batch_size", 1, "batch_size must be >= 2"),
        ("size", 7, "size must be >= 8"),
        ("lr", 0.0, "lr must be > 0"),
        ("lr", float("nan"), "lr must be > 0"),
        ("weight_decay", -1e-9, "weight_decay must be >= 0"),
        ("crop_scale_min", 0.0, r"crop_scale_min must be in \(0, 1\]"),
        ("out", "net.pt", r"out must end in \.safetensors, got 'net\.pt'"),
    ],
)
def test_train_observer_config_rejects(field: str, value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        train_observer(**{field: value})


def test_train_observer_config_accepts_zero_decay() -> None:
    assert train_observer(weight_decay=0.0, batch_size=2, size=8).weight_decay == 0.0


@pytest.mark.parametrize("config", [distill(), evaluate(), train_observer()])
def test_configs_are_frozen(config: Any) -> None:
    with pytest.raises(FrozenInstanceError):
        config.device = "cpu"


def test_configs_with_equal_fields_are_equal() -> None:
    assert distill() == distill()
    assert distill() != distill(seed=1)


def test_relabel_means_label() -> None:
    assert Rerun(redo=("score", "relabel")) == Rerun(redo=("score", "label"))
    with pytest.raises(InputError, match="redo must be one of draw, check, score, select, tile, label, publish; got"):
        Rerun(redo=("rescore",))  # pyright: ignore[reportArgumentType]
