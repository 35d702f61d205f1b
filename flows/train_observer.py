"""Train an observer."""

from typing import Any

from prefect import flow

from rded_core.config import TrainObserverConfig
from tasks.train_observer import train_observer as train_stage


@flow(name="train-observer", flow_run_name="train {config.arch} · {config.short_name}")
def train_observer(config: TrainObserverConfig) -> dict[str, Any]:
    """Trains one network on a labelled source, as observer or teacher, and returns its record."""
    return train_stage(config)
