"""``rded demo``: the whole pipeline on handwritten digits that ship with a package."""

from pathlib import Path
from typing import Any

from deployments.presets import demo_distill, demo_evaluate, demo_observer
from flows.distill import distill
from flows.evaluate import evaluate
from flows.train_observer import train_observer
from rded_core.io.sources.demo_digits import write_digits


def run_demo(out: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Trains an observer, distils ten digits per class, trains two students; returns both summaries."""
    source = write_digits(out / "digits")
    weights = out / "observer.safetensors"
    if not weights.is_file():
        train_observer(demo_observer(source, weights))
    run = out / "run"
    return distill(demo_distill(source, weights, run)), evaluate(demo_evaluate(source, run))
