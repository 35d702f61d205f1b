"""Presets: functions that return complete configs."""

from pathlib import Path

from rded_core.config import DistillConfig, EvaluateConfig, TrainObserverConfig

DEMO_NETWORK = "convnet3"


def demo_observer(source: Path, weights: Path) -> TrainObserverConfig:
    """Returns the config of a ConvNet-3 that learns 28 px digits in about a minute on two cores, without flips."""
    return TrainObserverConfig(
        source=str(source),
        val=str(source),
        arch=DEMO_NETWORK,
        out=str(weights),
        size=32,
        epochs=2,
        batch_size=64,
        lr=0.05,
        flip=False,
    )


def demo_distill(source: Path, weights: Path, out: Path) -> DistillConfig:
    """Returns the config of ten images per digit: whole-image crops of 200 candidates a class, 50 epochs of labels."""
    return DistillConfig(
        source=str(source),
        observer=f"rded:{DEMO_NETWORK}",
        weights=str(weights),
        ipc=10,
        out=str(out),
        num_candidates=200,
        num_crops=3,
        factor=1,
        size=32,
        crop_scale_min=0.5,
        label_epochs=50,
        flip=False,
        image_format="png",
    )


def demo_evaluate(source: Path, out: Path) -> EvaluateConfig:
    """Returns the config of one student on the distilled digits and one on random ones."""
    return EvaluateConfig(dataset=str(out), val=str(source), student=DEMO_NETWORK, seeds=1, looks=3)
